"""Ray's actors: started where there is room, given one concept after the other, replaced when they die."""

import time
from collections.abc import Iterator
from typing import Any

from .. import __version__
from ..errors import AtomtuneError, excerpt
from .cluster import connect, last_line, resources
from .options import FAILED, FleetJob, FleetOptions, FleetRow
from .worker import FleetWorker

_FAILED_STARTS = 3  # in a row, after which no worker will start


class _Board:
    """How far each concept is, as workers report it."""

    def __init__(self) -> None:
        self.steps: dict[str, tuple[int, int]] = {}

    def report(self, name: str, done: int, total: int) -> None:
        self.steps[name] = done, total

    def read(self) -> dict[str, tuple[int, int]]:
        return self.steps


class _Actor(FleetWorker):
    """A worker in a process of Ray's."""

    def __init__(self, output: str, board: Any) -> None:
        super().__init__(output, lambda *said: board.report.remote(*said))

    def version(self) -> str:
        """Of atomtune on the worker's machine."""
        return __version__


class Died(Exception):
    """The worker that was at a concept is gone."""


class Pool:
    """Workers that learn concepts.

    Args:
        output: absolute path or address of the runs.

    Attributes:
        learning: the concepts that workers are at.

    Raises UsageError where Ray is not installed, AtomtuneError where the cluster cannot be reached.
    """

    def __init__(self, output: str, options: FleetOptions) -> None:
        ray = connect(options, options.workers or 1)
        self._ray, self._output, self._options = ray, output, options
        # what it knows is for showing only, so it may begin anew elsewhere
        self._board = ray.remote(num_cpus=0, max_restarts=-1)(_Board).remote()
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, FleetJob]] = {}
        self._failed_starts = 0

    @property
    def learning(self) -> list[str]:
        """The concepts that workers are at."""
        return [job.name for _, job in self._busy.values()]

    @property
    def has_idle(self) -> bool:
        """Whether a worker waits for a concept."""
        return bool(self._idle)

    def size_for(self, waiting: int) -> None:
        """Have as many workers as there is room for, and no more than so many concepts that wait need."""
        needed, room = resources(self._ray, self._options)
        room = self._options.workers or room
        missing = max(0, min(room - len(self._busy), waiting)) - len(self._idle) - len(self._starting)
        if missing > 0:
            made = self._ray.remote(**needed)(_Actor)
            for _ in range(missing):
                actor = made.remote(self._output, self._board)
                self._starting[actor.version.remote()] = actor
        for _ in range(-missing):  # first those that have not loaded anything
            self._ray.kill(self._starting.popitem()[1] if self._starting else self._idle.pop())

    def give(self, job: FleetJob) -> None:
        """Have an idle worker learn a concept."""
        actor = self._idle.pop()
        self._busy[actor.learn.options(name=f"learn {job.name}").remote(job)] = actor, job

    def answers(self, seconds: float) -> Iterator[tuple[FleetJob, FleetRow | Died]]:
        """What workers came to, after at most so many seconds.

        Raises AtomtuneError where workers cannot be started.
        """
        asked = [*self._starting, *self._busy]
        if not asked:
            time.sleep(seconds)
            return
        ready, _ = self._ray.wait(asked, timeout=seconds)
        for task in ready:
            if task in self._starting:
                self._started(task)
            else:
                actor, job = self._busy.pop(task)
                try:
                    row: FleetRow | Died = self._ray.get(task)
                except self._ray.exceptions.RayTaskError as problem:  # what no concept is to blame for
                    row = FleetRow(job.name, FAILED, error=last_line(problem), hint="the same command tries it again")
                except self._ray.exceptions.RayError as problem:
                    yield job, Died(last_line(problem))
                    continue
                self._idle.append(actor)
                yield job, row

    def steps(self) -> dict[str, tuple[int, int]]:
        """Steps taken, and those to take, of concepts that are or were learned; empty where nobody knows."""
        try:
            found: dict[str, tuple[int, int]] = self._ray.get(self._board.read.remote(), timeout=10)
        except (self._ray.exceptions.RayError, TimeoutError):
            return {}
        return found

    def close(self) -> None:
        """End all workers, and Ray where it was started here."""
        self._ray.shutdown()

    def _started(self, task: Any) -> None:
        actor = self._starting.pop(task)
        try:
            version = self._ray.get(task)
        except self._ray.exceptions.RayError as problem:
            self._failed_starts += 1
            if self._failed_starts < _FAILED_STARTS:
                return
            raise AtomtuneError(
                f"workers do not start: {last_line(problem)}", "atomtune must be installed on every machine"
            ) from None
        if version != __version__:
            raise AtomtuneError(
                f"a machine of the cluster has atomtune {excerpt(version)}, this one {__version__}",
                "install the same version on all",
            )
        self._failed_starts = 0
        self._idle.append(actor)
