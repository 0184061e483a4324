"""How a run stands, read from its folder alone: whoever trains it, and whichever page looks."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.concept import Concept
from ..errors import AtomtuneError, UsageError
from ..files.untrusted_json import parse_json
from ..sampling.options import RUNS
from ..training.estimate import options_of_run
from ..training.overwrite import replacement
from ..training.run_folder import RunFolder
from ..training.run_lock import NOTE
from . import jobs
from .jobs import DONE, FAILED, QUEUED, RUNNING, STOPPED, Job, Problem

NONE, SAVED = "none", "saved"

_LONGEST_LOG = 64_000_000  # bytes
_RECENT = 50  # steps that a speed is taken from


@dataclass(frozen=True)
class Step:
    """A line of the log; `seconds` of training up to there, `held_out` the loss of images that are kept out."""

    number: int
    loss: float
    seconds: float
    held_out: float | None = None


@dataclass(frozen=True)
class RunState:
    """A run as it is now.

    Attributes:
        state: of the job that trains it (QUEUED, RUNNING, STOPPED, FAILED, DONE), SAVED where it can go on, or NONE.
        steps: that it is to take, 0 where that is not known yet.
        log: step by step; empty before the first lines are written.
        previews: images that were generated while training, with their steps, in order.
        job: the last one of the page about this run; None for runs of the command line.
        doing: what its process said last.
        saved: whether there is a checkpoint to go on from.
    """

    name: str
    state: str
    steps: int
    log: tuple[Step, ...]
    previews: tuple[tuple[int, Path], ...]
    job: Job | None
    doing: str
    problem: Problem | None
    saved: bool

    @property
    def step(self) -> int:
        """The last step that the log knows."""
        return self.log[-1].number if self.log else 0

    @property
    def speed(self) -> float:
        """Steps a second lately; 0 where it is not known."""
        last = self.log[-_RECENT:]
        if len(last) < 2 or last[-1].seconds <= last[0].seconds:
            return 0.0
        return (last[-1].number - last[0].number) / (last[-1].seconds - last[0].seconds)

    @property
    def seconds_left(self) -> float | None:
        """Of training, at this speed."""
        return (self.steps - self.step) / self.speed if self.speed and self.steps else None


def run_path(name: str) -> Path:
    """The folder of a run. Raises UsageError where this is no name of a concept, so that it stays in runs/."""
    return RUNS / Concept(name).name


def runs() -> list[str]:
    """Names of all runs, begun or finished, the one that was written last in front."""
    found: dict[str, float] = {}
    for path in RUNS.iterdir() if RUNS.is_dir() else []:
        folder = RunFolder(path)
        times = [file.stat().st_mtime for file in (folder.log, folder.atoms, folder.record) if file.is_file()]
        if times and _is_name(path.name):
            found[path.name] = max(times)
    for job in jobs.jobs():
        if job.run and job.kind == "train" and (job.run in found or job.state in (QUEUED, RUNNING, FAILED)):
            found[job.run] = max(found.get(job.run, 0.0), job.created)
    return sorted(found, key=lambda name: -found[name])


def run_state(name: str) -> RunState:
    """How a run stands. Raises UsageError where the name cannot be one."""
    path = run_path(name)
    folder = _current(path)
    job = jobs.newest(path.name)
    held = is_held(path)
    state = job.state if job is not None else NONE
    if held and state not in (QUEUED, RUNNING):  # somebody else trains it
        state, job = RUNNING, None
    elif job is None:
        state = DONE if folder.is_finished() else SAVED if folder.checkpoint.is_file() else NONE
    elif state in (DONE, STOPPED, FAILED) and _has_gone_on(folder, job):
        state, job = (DONE if folder.is_finished() else SAVED), None
    return RunState(
        name=path.name,
        state=state,
        steps=_steps_asked(folder),
        log=tuple(_log(folder)),
        previews=tuple(_previews(folder)),
        job=job,
        doing=job.progress if job is not None and state == RUNNING else "",
        problem=job.problem if job is not None else None,
        saved=folder.checkpoint.is_file(),
    )


def is_held(path: Path) -> bool:
    """Whether a living process of this machine holds the folder of a run, by the note that it left there."""
    import psutil

    try:
        note = parse_json((path / NOTE).read_text(encoding="utf-8", errors="replace")[:1000])
        return note["host"] == socket.gethostname() and psutil.pid_exists(int(note["process"]))
    except (OSError, ValueError, LookupError, TypeError, OverflowError):
        return False


def _current(path: Path) -> RunFolder:
    """The run that is being made: a replacement, where one is begun and not finished."""
    home = RunFolder(path)
    new = replacement(home)
    return new if new.record.is_file() and not new.path.is_symlink() and not new.is_finished() else home


def _has_gone_on(folder: RunFolder, job: Job) -> bool:
    """Whether somebody went on with the run after the page's last job about it ended."""
    try:
        ended = (job.folder / "ended.json").stat().st_mtime
        return folder.record.stat().st_mtime > ended + 1
    except OSError:
        return False


def _is_name(text: str) -> bool:
    try:
        return Concept(text).name == text
    except (AtomtuneError, UsageError):
        return False


def _steps_asked(folder: RunFolder) -> int:
    return int_or_zero(options_of_run(folder).get("steps"))


def int_or_zero(value: Any) -> int:
    """A whole number of a file, 0 for anything else."""
    return value if type(value) is int and 0 <= value < 10**12 else 0


def _log(folder: RunFolder) -> Iterator[Step]:
    try:
        with folder.log.open("rb") as stream:
            content = stream.read(_LONGEST_LOG)
    except OSError:
        return
    for line in content.splitlines():
        try:
            entry = json.loads(line)
            apart = entry.get("held_out_loss")
            known = None if apart is None else float(apart)
            yield Step(int(entry["step"]), float(entry["loss"]), float(entry.get("seconds", 0.0)), known)
        except (ValueError, LookupError, TypeError, RecursionError):
            continue  # cut short by a crash, or being written


def _previews(folder: RunFolder) -> Iterator[tuple[int, Path]]:
    for path in sorted(folder.previews.glob("step-*-*.png")):
        number = path.stem.split("-")[1]
        if number.isascii() and number.isdecimal() and len(number) < 12 and path.is_file():
            yield int(number), path
