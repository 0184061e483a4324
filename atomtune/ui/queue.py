"""The queue: one job at a time on each device, in the order in which they were asked for."""

import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from . import jobs
from .jobs import QUEUED, RUNNING, Job

EVERY = 0.3  # seconds between two looks
_STARTING = 30.0  # seconds that a process may take to say that it is there


class Queue:
    """Starts jobs while it runs, in a thread of its own.

    Of the servers in one working folder, one starts jobs; another takes over where that one ends.
    """

    def __init__(self) -> None:
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="atomtune-queue", daemon=True)
        self._begun: dict[int, float] = {}
        self._children: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Begin to start jobs."""
        self._thread.start()

    def close(self) -> None:
        """Start no more jobs. Those that run go on."""
        self._ending.set()
        self._thread.join(5)

    def _run(self) -> None:
        jobs.JOBS.mkdir(parents=True, exist_ok=True)
        lock = FileLock(jobs.JOBS / ".lock")
        while not self._ending.wait(EVERY):
            with suppress(Timeout), lock.acquire(blocking=False):
                while not self._ending.wait(EVERY):
                    with suppress(OSError):  # a full disk now may have room later; what waits goes on waiting
                        self.look()

    def look(self) -> list[Job]:
        """Start what can be started now; returns it."""
        self._children = [child for child in self._children if child.poll() is None]
        busy, started = set(), []
        listed = [(job, job.state) for job in jobs.jobs()]
        for job, state in listed:
            if state == RUNNING or (state == QUEUED and self._is_starting(job)):
                busy.add(job.device)
        for job, state in listed:
            if state == QUEUED and job.device not in busy:
                busy.add(job.device)
                self._begin(job)
                started.append(job)
        return started

    def _is_starting(self, job: Job) -> bool:
        return time.monotonic() - self._begun.get(job.number, -_STARTING) < _STARTING

    def _begin(self, job: Job) -> None:
        self._begun[job.number] = time.monotonic()
        self._children.append(
            subprocess.Popen(
                [sys.executable, "-m", "atomtune.ui.job_process", str(Path(job.folder))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )


def device_name(asked: str | None) -> str:
    """The name of a device that jobs share: "cpu", "cuda:0", "mps". Raises AtomtuneError where there is none such."""
    from ..models.base_model import pick_device

    device = pick_device(asked or None)
    return f"{device.type}:{device.index or 0}" if device.type == "cuda" else device.type


def waiting_before(job: Job) -> int:
    """How many jobs of its device come before one that waits."""
    return sum(
        other.device == job.device and other.number < job.number and other.state in (QUEUED, RUNNING)
        for other in jobs.jobs()
    )
