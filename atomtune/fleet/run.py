"""A fleet: its concepts given out to workers, and their rows gathered."""

import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace

from ..errors import AtomtuneError, Interrupted, UsageError, excerpt
from ..files.output_folder import claim
from ..runtime.progress import Events
from .options import DONE, FAILED, STOPPED, TRAINING, WAITING, FleetJob, FleetOptions, FleetRow
from .place import Place
from .pool import Pool
from .table import FILES, Table
from .worker import STOP

_APART = 2.0  # seconds between two looks at the workers
_PATIENCE = 60.0  # seconds after which the user is told that there is no room in the cluster
_MOST_PACKED = 256 * 2**20  # bytes of a concept's images


def run_fleet(jobs: Sequence[FleetJob], options: FleetOptions, events: Events | None = None) -> list[FleetRow]:
    """Learn concepts, and write fleet.json, .csv and .html beside their runs; returns a row for each.

    A concept whose worker or machine died goes on after its last checkpoint, on another one. So does everything when
    the same fleet is started again. Concepts that are complete are left as they are.

    Raises:
        UsageError: the extra is not installed, a concept is given twice, the output holds files of others.
        AtomtuneError: the output cannot be written, the cluster cannot be reached, workers do not start.
        Interrupted: stopped by the user, after the workers have saved their states.
    """
    events = events or Events()
    names = Counter(job.name for job in jobs)
    if twice := [name for name, count in names.items() if count > 1]:
        raise UsageError(f"the concept {excerpt(twice[0])} is given twice", "each has a folder of its own")
    if not jobs:
        raise UsageError("there are no concepts to learn", "a folder of folders with images, or a file of [[jobs]]")
    place = Place(options.output)
    with redirect_stdout(sys.stderr):  # where Ray tells of machines that died
        return _run(jobs, options, place, events)


def _run(jobs: Sequence[FleetJob], options: FleetOptions, place: Place, events: Events) -> list[FleetRow]:
    pool = Pool(str(place.folder.absolute()) if place.folder is not None else place.address, options)
    try:
        if place.folder is not None:
            claim(place.folder, FILES)
        place.remove(STOP)
        fleet = _Fleet(pool, jobs, options, Table(place, [FleetRow(job.name) for job in jobs], events), events)
        try:
            fleet.learn_all()
        except KeyboardInterrupt as stop:
            place.write(STOP, b"")
            fleet.wait_for_states()
            code = getattr(stop, "exit_code", 130)
            raise Interrupted("stopped; the states are saved", "the same command goes on", exit_code=code) from None
        finally:
            fleet.table.write()
    finally:
        pool.close()
    return fleet.table.rows


class _Fleet:
    def __init__(
        self, pool: Pool, jobs: Sequence[FleetJob], options: FleetOptions, table: Table, events: Events
    ) -> None:
        self.table = table
        self._pool, self._options, self._events = pool, options, events
        self._waiting = deque(jobs)
        self._deaths: Counter[str] = Counter()

    def learn_all(self) -> None:
        """Give out concepts until there is a row for each."""
        self._events.begin("fleet", len(self._waiting))
        began, is_told = time.monotonic(), False
        while self._waiting or self._pool.learning:
            self._pool.size_for(len(self._waiting))
            while self._waiting and self._pool.has_idle:
                self._give(self._waiting.popleft())
            self._take(_APART)
            if not is_told and not self._pool.learning and time.monotonic() - began > _PATIENCE:
                self._events.warn("no worker has begun yet: the cluster may have no room for one")
                is_told = True
            is_told = is_told or bool(self._pool.learning)
        self._events.end()

    def wait_for_states(self) -> None:
        """Wait until every worker has stopped."""
        while self._pool.learning:
            self._events.note(f"{len(self._pool.learning)} workers save their states")
            self._take(_APART)

    def _give(self, job: FleetJob) -> None:
        try:
            sent = _packed(job, self._options)
        except (AtomtuneError, OSError) as problem:
            self._settle(FleetRow(job.name, FAILED, error=str(problem), hint=getattr(problem, "hint", None) or ""))
            return
        self._pool.give(sent)
        self.table.put(FleetRow(job.name, TRAINING))

    def _take(self, seconds: float) -> None:
        """Wait for answers, and bring the table up to date."""
        for job, answer in self._pool.answers(seconds):
            if isinstance(answer, FleetRow):
                self._settle(answer)
                continue
            self._deaths[job.name] += 1
            if self._deaths[job.name] > self._options.retries:
                died = f"its worker died {self._deaths[job.name]} times: {answer}"
                self._settle(FleetRow(job.name, FAILED, error=died, hint="--retries allows more"))
            else:  # before others: what it has done already is nearer to its end
                self._waiting.appendleft(job)
                self.table.put(FleetRow(job.name, WAITING))
        steps = self._pool.steps() if self._pool.learning else {}
        for name in self._pool.learning:
            if name in steps:
                self.table.put(replace(self.table[name], steps=steps[name][0]))
        self._events.note(self._progress(steps))
        self.table.write_when_due()

    def _settle(self, row: FleetRow) -> None:
        self.table.put(row)
        if row.state == STOPPED:  # by `fleet cancel`
            for job in self._waiting:
                self.table.put(FleetRow(job.name, STOPPED, error="stopped before it began"))
            self._waiting.clear()
        self._events.advance(self._progress({}))

    def _progress(self, steps: dict[str, tuple[int, int]]) -> str:
        counts = self.table.counts
        failed = counts[FAILED] + counts[STOPPED]
        at = [f"{name} {steps[name][0]}/{steps[name][1]}" for name in self._pool.learning if name in steps]
        return ", ".join([f"{counts[DONE]} done", *([f"{failed} failed"] if failed else []), *at[:4]])


def _packed(job: FleetJob, options: FleetOptions) -> FleetJob:
    """A job that a worker on another machine can do: with its images, where they are on this machine's disks."""
    if options.address is None:
        return replace(job, options=replace(job.options, images=job.options.images.absolute()))
    if job.images or not job.options.images.is_dir():
        return job
    files = [path for path in sorted(job.options.images.iterdir()) if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    if size > _MOST_PACKED:
        raise UsageError(f"{job.options.images} holds {size:,} bytes", "put the images where workers can read them")
    return replace(job, packed=tuple((path.name, path.read_bytes()) for path in files))
