"""Jobs of the page: commands of atomtune in processes of their own, each with a folder that says how it stands.

A job outlives the server that started it. All that is known of it is in its folder: job.json (what was asked),
process.json (who does it), stop.json (it was asked to stop), ended.json (its exit code), stdout and stderr.
"""

import json
import os
import shlex
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import AtomtuneError, UsageError
from ..files.atomic import write_text
from ..files.untrusted_json import parse_json, read_json
from ..sampling.options import RUNS

JOBS = RUNS / ".jobs"

QUEUED, RUNNING, DONE, STOPPED, FAILED = "queued", "running", "done", "stopped", "failed"

_KEPT = 200  # finished jobs whose folders stay
_FILES = ("process.json", "stop.json", "ended.json", "stdout", "stderr", "job.json")
_TAIL = 20_000  # bytes of an output that are read
_STOPPING = frozenset({130, 143, -signal.SIGTERM, -signal.SIGINT})
_DIED = "the process ended without a word{how}"
_DIED_HINT = "the system ends processes where memory runs out; Resume goes on from the last checkpoint"


@dataclass(frozen=True)
class Problem:
    """What went wrong, with the command line's line and hint."""

    message: str
    hint: str = ""


@dataclass(frozen=True)
class Job:
    """A command that was asked for.

    Attributes:
        number: jobs of a device are done in this order.
        arguments: of `atomtune`, the command first.
        run: name of the run that it is about; empty for none.
        device: that it computes on, as "cpu" or "cuda:0".
        created: seconds since 1970.
    """

    number: int
    title: str
    arguments: tuple[str, ...]
    run: str
    device: str
    created: float

    @property
    def kind(self) -> str:
        """The command."""
        return self.arguments[0]

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return JOBS / f"{self.number:06d}"

    @property
    def command_line(self) -> str:
        """What does the same in a shell."""
        return shlex.join(["atomtune", *(word for word in self.arguments if word != "--json")])

    @property
    def state(self) -> str:
        """One of QUEUED, RUNNING, DONE, STOPPED, FAILED."""
        ended = _read(self.folder / "ended.json")
        if ended is None:
            process = _read(self.folder / "process.json")
            if process is None:
                return STOPPED if (self.folder / "stop.json").exists() else QUEUED
            if any(_is_alive(process.get(who)) for who in ("runner", "child")):
                return RUNNING
            ended = _read(self.folder / "ended.json") or {"code": None}  # it may have ended between the two looks
        code = ended.get("code")
        if code == 0:
            return DONE
        return STOPPED if (code in _STOPPING and (self.folder / "stop.json").exists()) or code in (130, 143) else FAILED

    @property
    def problem(self) -> Problem | None:
        """Why it failed; None where it did not. What a run that was stopped says of how to go on counts too."""
        state = self.state
        if state not in (FAILED, STOPPED):
            return None
        lines = self.output("stderr").splitlines()
        said = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
        hints = [line.removeprefix("Hint: ") for line in lines if line.startswith("Hint: ")]
        if said:
            return Problem("\n".join(said), hints[-1] if hints else "")
        if state == STOPPED:
            return Problem("stopped before anything was saved")
        code = (_read(self.folder / "ended.json") or {}).get("code")
        how = f" (signal {-code})" if isinstance(code, int) and code < 0 else ""
        last = next((line for line in reversed(lines) if line.strip()), "")
        return Problem("\n".join(filter(None, [_DIED.format(how=how), last])), _DIED_HINT)

    @property
    def warnings(self) -> list[str]:
        """What the command warned of."""
        lines = self.output("stderr").splitlines()
        return [line.removeprefix("Warning: ") for line in lines if line.startswith("Warning: ")]

    @property
    def progress(self) -> str:
        """The last thing that the command said it does."""
        lines = [line for line in self.output("stderr").splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith(("Error: ", "Hint: ", "Warning: "))]
        return lines[-1] if lines else ""

    @property
    def result(self) -> dict[str, Any]:
        """What the command printed with --json; empty where it has not."""
        try:
            value = parse_json(self.output("stdout", most=4_000_000))
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def output(self, name: str, most: int = _TAIL) -> str:
        """The end of "stdout" or "stderr"."""
        try:
            with (self.folder / name).open("rb") as stream:
                length = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, length - most))
                return stream.read(most).decode("utf-8", errors="replace")
        except OSError:
            return ""

    def stop(self) -> None:
        """Ask it to save and stop; one that waits is taken out of the queue. Nothing happens to one that has ended."""
        if self.state not in (QUEUED, RUNNING):
            return
        write_text(self.folder / "stop.json", json.dumps({"at": time.time()}) + "\n")
        process = _read(self.folder / "process.json") or {}
        if _is_alive(process.get("child")):
            with suppress(ProcessLookupError):
                os.kill(int(process["child"]["pid"]), signal.SIGTERM)


def add(title: str, arguments: Sequence[str], run: str, device: str) -> Job:
    """Put a job at the end of the queue. Raises UsageError where the run has one already that has not ended."""
    for other in jobs():
        if run and other.run == run and other.kind == arguments[0] == "train" and other.state in (QUEUED, RUNNING):
            raise UsageError(f"{run} is in the queue already", "wait for it, or stop it first")
    JOBS.mkdir(parents=True, exist_ok=True)
    number = max(map(int, _names()), default=0) + 1
    while True:
        try:
            (JOBS / f"{number:06d}").mkdir()
            break
        except FileExistsError:  # another server was quicker
            number += 1
        except OSError as problem:
            raise AtomtuneError(
                f"cannot write {JOBS}: {problem.strerror}", "check free space and permissions"
            ) from None
    job = Job(number, title, tuple(arguments), run, device, time.time())
    write_text(job.folder / "job.json", json.dumps(asdict(job)) + "\n")
    _remove_old()
    return job


def jobs() -> list[Job]:
    """Every job, in order."""
    return [job for name in _names() if (job := _job(JOBS / name)) is not None]


def job_of(number: int) -> Job:
    """A job by its number. Raises UsageError where there is none."""
    found = _job(JOBS / f"{number:06d}")
    if found is None:
        raise UsageError(f"there is no job {number}", f"jobs: {', '.join(str(job.number) for job in jobs()) or 'none'}")
    return found


def newest(run: str, kind: str = "train") -> Job | None:
    """The last job of a kind about a run."""
    return next((job for job in reversed(jobs()) if job.run == run and job.kind == kind), None)


def _names() -> list[str]:
    if not JOBS.is_dir():
        return []
    return sorted(path.name for path in JOBS.iterdir() if path.name.isdecimal() and path.is_dir())


def _job(folder: Path) -> Job | None:
    facts = _read(folder / "job.json")
    try:
        return None if facts is None else Job(**{**facts, "arguments": tuple(facts["arguments"])})
    except (TypeError, LookupError):
        return None


def _remove_old() -> None:
    ended = [job for job in jobs() if job.state in (DONE, STOPPED, FAILED)]
    for job in ended[:-_KEPT]:
        for name in _FILES:
            (job.folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            job.folder.rmdir()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _is_alive(who: Mapping[str, Any] | None) -> bool:
    """Whether a process that was noted down is there still, and not another one of its number."""
    import psutil

    if not who:
        return False
    try:
        process = psutil.Process(int(who["pid"]))
        return abs(process.create_time() - float(who["began"])) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, LookupError, TypeError, ValueError):
        return False
