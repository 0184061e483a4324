"""The folder of one training run: what is in it, who may write there."""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...errors import AtomtuneError, UsageError
from ...files.atomic import write_text

_OURS = (
    "run.json",
    "log.jsonl",
    "checkpoint.safetensors",
    "atoms.safetensors",
    "loss.svg",
    "strip.png",
    "strip",
    "tensorboard",
    "wandb",
)


class RunFolder:
    """Paths and records of a run under `path`.

    run.json: resolved options, versions, base fingerprint, and the result once there is one. log.jsonl: a line a step.
    checkpoint.safetensors: state to resume from. atoms.safetensors: the result. loss.svg: the loss curve.
    strip/, strip.png: pictures drawn while training. tensorboard/, wandb/: what --tracker wrote.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = path / "run.json"
        self.log = path / "log.jsonl"
        self.checkpoint = path / "checkpoint.safetensors"
        self.atoms = path / "atoms.safetensors"
        self.loss_curve = path / "loss.svg"
        self.strip = path / "strip.png"
        self.strip_folder = path / "strip"

    def check_free(self) -> None:
        """Raise UsageError where the folder holds a run already, or is none."""
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is not a folder", "--output names another one")
        if occupied := self._held():
            raise UsageError(
                f"{self.path} already holds a run ({', '.join(occupied)})",
                "--resume continues it, --overwrite starts again, --output names another folder",
            )

    def clear(self) -> None:
        """Make the folder ready for a new run: take away what an earlier one left, and nothing else."""
        for name in self._held():
            target = self.path / name
            shutil.rmtree(target) if target.is_dir() else target.unlink()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise AtomtuneError(
                f"cannot make {self.path}: {problem.strerror}", "--output names another folder"
            ) from None

    def _held(self) -> list[str]:
        return [name for name in _OURS if (self.path / name).exists()]

    def read_record(self) -> dict[str, Any]:
        """run.json. Raises UsageError where there is no run, AtomtuneError where it is damaged."""
        if not self.record.is_file():
            raise UsageError(f"there is no run to resume in {self.path}", "leave out --resume to start one")
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            raise AtomtuneError(f"{self.record} is damaged ({problem})", "start again with --overwrite") from None
        if not isinstance(record, dict):
            raise AtomtuneError(f"{self.record} is damaged", "start again with --overwrite")
        return record

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write run.json."""
        write_text(self.record, json.dumps(record, indent=2) + "\n")

    def log_until(self, step: int) -> None:
        """Cut the log back to what the checkpoint of this step knows."""
        kept: list[str] = []
        if self.log.is_file():
            for line in self.log.read_text(encoding="utf-8").splitlines():
                try:
                    if json.loads(line)["step"] <= step:
                        kept.append(line)
                except (ValueError, KeyError, TypeError):
                    break  # a line that a crash cut short is the last one
        write_text(self.log, "".join(f"{line}\n" for line in kept))

    def append(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Add lines to the log."""
        lines = "".join(json.dumps(entry) + "\n" for entry in entries)
        try:
            with self.log.open("a", encoding="utf-8") as stream:
                stream.write(lines)
        except OSError as problem:
            raise AtomtuneError(f"cannot write {self.log}: {problem.strerror}", "check free space") from None
