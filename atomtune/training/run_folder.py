"""The folder of one training run: what is in it, who may write there."""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import AtomtuneError, UsageError, excerpt
from ..files.atomic import write_text
from ..files.temporary import remove_stale_temporaries
from ..files.untrusted_json import parse_json, read_json
from .run_lock import NOTE

_OURS = (
    "run.json",
    "log.jsonl",
    "checkpoint.safetensors",
    "atoms.safetensors",
    "loss.svg",
    "previews.png",
    "previews",
    "steps",
    "tensorboard",
    "wandb",
)

_LONGEST_LINE = 10_000  # bytes of a line of the log; ours have some 100


class RunFolder:
    """Paths and records of a run under `path`.

    run.json: resolved options, versions, base fingerprint, and the result once there is one. log.jsonl: a line a step.
    checkpoint.safetensors: state to resume from. atoms.safetensors: the result. loss.svg: the loss curve.
    steps/: the atoms as they were at each checkpoint. previews/, previews.png: images generated while training.
    tensorboard/, wandb/: what --tracker wrote. .atomtune.lock: see `run_lock`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = path / "run.json"
        self.log = path / "log.jsonl"
        self.checkpoint = path / "checkpoint.safetensors"
        self.atoms = path / "atoms.safetensors"
        self.loss_curve = path / "loss.svg"
        self.previews = path / "previews"
        self.preview_sheet = path / "previews.png"
        self.steps = path / "steps"

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
            shutil.rmtree(target) if target.is_dir() and not target.is_symlink() else target.unlink()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise AtomtuneError(
                f"cannot make {self.path}: {problem.strerror}", "--output names another folder"
            ) from None

    def _held(self) -> list[str]:
        return [name for name in _OURS if (self.path / name).exists() or (self.path / name).is_symlink()]

    def read_record(self) -> dict[str, Any]:
        """run.json, to go on with the run.

        Raises UsageError where there is no run, AtomtuneError where it is damaged, or a file of it is a link: what is
        written to it would go somewhere else.
        """
        if not self.record.is_file():
            raise UsageError(f"there is no run to resume in {self.path}", "leave out --resume to start one")
        try:
            record = read_json(self.record)
        except (OSError, ValueError) as problem:
            raise AtomtuneError(
                f"{self.record} is damaged ({excerpt(problem)})", "start again with --overwrite"
            ) from None
        if links := [name for name in _OURS if (self.path / name).is_symlink()]:
            raise AtomtuneError(f"{self.path / links[0]} is a link", "put what it points to in its place")
        if not isinstance(record, dict):
            raise AtomtuneError(f"{self.record} is damaged", "start again with --overwrite")
        return record

    def kept(self, step: int) -> Path:
        """Where the atoms of this step are kept."""
        return self.steps / f"step-{step:06d}.safetensors"

    def kept_steps(self) -> dict[int, Path]:
        """Files of the atoms kept, by step, in order."""
        found = {}
        for path in self.steps.glob("step-*.safetensors"):
            number = path.stem.removeprefix("step-")
            if number.isdecimal():
                found[int(number)] = path
        return dict(sorted(found.items()))

    def atoms_at(self, step: int | None) -> Path:
        """The atoms of a step, the final ones for None. Raises UsageError where they were not kept."""
        if step is None:
            return self.atoms
        steps = self.kept_steps()
        if step not in steps:
            there = ", ".join(map(str, steps)) or "none"
            raise UsageError(f"{self.path} keeps no atoms of step {step}", f"steps that are there: {there}")
        return steps[step]

    def losses(self) -> list[float]:
        """The loss of every step that the log knows."""
        values = []
        if self.log.is_file():
            for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    values.append(float(parse_json(line)["loss"]))
                except (ValueError, LookupError, TypeError):
                    continue  # cut short by a crash, or damaged: the steps around it are known all the same
        return values

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write run.json."""
        write_text(self.record, json.dumps(record, indent=2) + "\n")

    def sweep(self) -> None:
        """Take away the temporary files of a process that was killed while it wrote. For the lock's holder alone."""
        left = [f".{name}.*.tmp" for name in (*_OURS, NOTE, "atomtune")]
        for pattern in (*left, *(f"{folder.name}/.*.tmp" for folder in (self.steps, self.previews))):
            for path in self.path.glob(pattern):
                if path.is_file():  # of earlier versions
                    path.unlink(missing_ok=True)
        for folder in (self.path, self.steps, self.previews):
            remove_stale_temporaries(folder)

    def log_until(self, step: int) -> None:
        """Cut the log back to what the checkpoint of this step knows."""
        kept: list[str] = []
        if self.log.is_file():
            with self.log.open("rb") as stream:
                # there is a line for each step, and one that a crash cut short is the last
                while len(kept) < step and (line := stream.readline(_LONGEST_LINE)):
                    try:
                        text = line.decode("utf-8").strip()
                        if parse_json(text)["step"] <= step:
                            kept.append(text)
                    except (ValueError, LookupError, TypeError):
                        break
        write_text(self.log, "".join(f"{line}\n" for line in kept))

    def append(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Add lines to the log."""
        lines = "".join(json.dumps(entry) + "\n" for entry in entries)
        try:
            with self.log.open("a", encoding="utf-8") as stream:
                stream.write(lines)
        except OSError as problem:
            raise AtomtuneError(f"cannot write {self.log}: {problem.strerror}", "check free space") from None
