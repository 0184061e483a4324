"""The folder of one training run: its files, its record and its log."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import AtomtuneError, UsageError, excerpt
from ..files.atomic import write_text
from ..files.manifest import Manifest
from ..files.run_result import CHECKPOINT, RECORD, result_in
from ..files.temporary import remove_stale_temporaries
from ..files.untrusted_json import parse_json, read_json

_LONGEST_LINE = 10_000  # bytes of a line of the log; ours have some 100
_OTHER_FOLDER = "--output names another folder"


class RunFolder:
    """Paths and records of a run under `path`.

    run.json: resolved options, versions, base fingerprint, and the result once there is one. log.jsonl: a line a step.
    checkpoint.safetensors: state to resume from. NAME.safetensors, after the concept: the result, see `result_in`.
    loss.svg: the loss curve.
    steps/: the atoms as they were at each checkpoint. previews/, previews.png: images generated while training.
    tensorboard/, wandb/: what --tracker wrote. .atomtune-files: which of all these the run wrote, see `Manifest`.
    .atomtune.lock: see `run_lock`.
    """

    def __init__(self, path: Path, concept: str | None = None) -> None:
        self.path = path
        self._concept = concept
        self.record = path / RECORD
        self.log = path / "log.jsonl"
        self.checkpoint = path / CHECKPOINT
        self.loss_curve = path / "loss.svg"
        self.previews = path / "previews"
        self.preview_sheet = path / "previews.png"
        self.steps = path / "steps"
        self._manifest: Manifest | None = None

    @property
    def atoms(self) -> Path:
        """The result, whether it is there already or not."""
        return result_in(self.path, self._concept)

    @property
    def manifest(self) -> Manifest:
        """What atomtune wrote here."""
        if self._manifest is None:
            self._manifest = Manifest(self.path)
        return self._manifest

    def check_free(self, tracker: str | None, overwrite: bool) -> None:
        """Raise UsageError where a new run cannot begin here.

        That is where the folder is none, holds a run and `overwrite` is not set, or holds files of others which the run
        would have to replace.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is not a folder", "--output names another one")
        ours, foreign = self._held(tracker)
        if ours and not overwrite:
            raise UsageError(
                f"{self.path} already holds a run ({', '.join(ours)})",
                f"--resume continues it, --overwrite starts again, {_OTHER_FOLDER}",
            )
        if foreign:
            raise UsageError(
                f"{self.path} holds {', '.join(foreign)}, which atomtune train did not write and would replace",
                f"move {'it' if len(foreign) == 1 else 'them'} away, or {_OTHER_FOLDER}",
            )

    def holds_run(self) -> bool:
        """Whether a run wrote anything here that is still there."""
        return bool(self._held(None)[0])

    def begin(self, tracker: str | None) -> None:
        """Make the folder ready for a run's files. Raises AtomtuneError where one of them is somebody else's."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise AtomtuneError(f"cannot make {self.path}: {problem.strerror}", _OTHER_FOLDER) from None
        if self.record not in self.manifest:
            self.manifest.adopt(*self._from_before_manifests())
        _, foreign = self._held(tracker)
        if foreign:
            raise AtomtuneError(f"{self.path / foreign[0]} was not written by atomtune train", _OTHER_FOLDER)
        self.manifest.add(*self._fixed())
        for folder in (self.steps, self.previews, *([self.path / tracker] if tracker else [])):
            self.manifest.add_folder(folder)

    def _fixed(self) -> list[Path]:
        return [self.record, self.log, self.checkpoint, self.atoms, self.loss_curve, self.preview_sheet]

    def _held(self, tracker: str | None) -> tuple[list[str], list[str]]:
        """Names of a run's files that are there: its own, and those of others that a run would have to replace."""
        found = [path for path in self._fixed() if path.exists() or path.is_symlink()]
        found += [*self.steps.glob("step-*.safetensors"), *self.previews.glob("step-*-*.png")]
        found += [self.path / tracker] if tracker and (self.path / tracker).exists() else []
        before = set() if self.record in self.manifest else set(self._from_before_manifests())
        links = [path for path in (*found, self.steps, self.previews) if path.is_symlink()]
        ours = [path for path in found if path not in links and (path in self.manifest or path in before)]
        foreign = list(dict.fromkeys([*links, *(path for path in found if path not in ours)]))
        names = [[path.relative_to(self.path).as_posix() for path in paths] for paths in (ours, foreign)]
        return names[0], names[1]

    def _from_before_manifests(self) -> list[Path]:
        """The files of a run of version 0.1, which kept no manifest; none where run.json is not a run's."""
        if not self.record.is_file() or self.record.is_symlink():
            return []
        try:
            record = read_json(self.record)
            options = record["options"] if record["base_fingerprint"] else {}
            tracker = options.get("tracker")
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return []
        found = [*self._fixed(), self.path / "strip.png"]
        found += [*self.steps.glob("step-*.safetensors"), *self.path.glob("strip/step-*-*.png")]
        if tracker in ("tensorboard", "wandb"):
            found += [path for path in (self.path / tracker).rglob("*") if path.is_file()]
        return [path for path in found if path.is_file() and not path.is_symlink()]

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
        for path in (*self._fixed(), self.steps, self.previews):
            if path.is_symlink():
                raise AtomtuneError(f"{path} is a link", "put what it points to in its place")
        if not isinstance(record, dict):
            raise AtomtuneError(f"{self.record} is damaged", "start again with --overwrite")
        return record

    def is_finished(self) -> bool:
        """Whether run.json tells of a result."""
        try:
            return "result" in read_json(self.record)
        except (OSError, ValueError, TypeError):
            return False

    def preview(self, step: int, number: int) -> Path:
        """Where the preview of a step for a prompt, by its number, is."""
        return self.previews / f"step-{step:06d}-{number}.png"

    def preview_steps(self, prompts: int) -> list[int]:
        """The steps that have a preview for each of so many prompts, in order."""
        steps = {int(path.name.split("-")[1]) for path in self.previews.glob("step-*-0.png") if _has_step(path)}
        return [step for step in sorted(steps) if all(self.preview(step, i).is_file() for i in range(prompts))]

    def kept(self, step: int) -> Path:
        """Where the atoms of this step are kept."""
        return self.steps / f"step-{step:06d}.safetensors"

    def kept_steps(self) -> dict[int, Path]:
        """Files of the atoms kept, by step, in order."""
        found = {}
        for path in filter(_has_step, self.steps.glob("step-*.safetensors")):
            found[int(path.stem.split("-")[1])] = path
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
        return [loss for _, loss in self._logged("loss")]

    def held_out_losses(self) -> dict[int, float]:
        """The held-out loss by step, where the log knows it."""
        return dict(self._logged("held_out_loss"))

    def _logged(self, key: str) -> Iterator[tuple[int, float]]:
        if not self.log.is_file():
            return
        for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = parse_json(line)
                yield int(entry["step"]), float(entry[key])
            except (ValueError, LookupError, TypeError):
                continue  # without it, cut short by a crash, or damaged: the steps around it are known all the same

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write run.json."""
        write_text(self.record, json.dumps(record, indent=2) + "\n")

    def remove_temporaries(self) -> None:
        """Remove what killed processes left half written."""
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


def _has_step(path: Path) -> bool:
    """Whether a name is `step-NUMBER` and what follows; a number of a hundred digits is none of ours."""
    number = path.stem.split("-")[1]
    return number.isascii() and number.isdecimal() and len(number) < 12
