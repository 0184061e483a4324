"""A fleet: its concepts given out to Ray's actors, and their rows gathered."""

import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from ..errors import AtomtuneError, Interrupted, UsageError, excerpt
from ..files.output_folder import claim
from ..runtime.progress import Events
from .options import FAILED, STOPPED, TRAINING, FleetJob, FleetOptions, FleetRow
from .place import Place
from .table import FILES, write_table
from .worker import STOP, FleetWorker

_APART = 2.0  # seconds between two looks at the workers
_MOST_PACKED = 256 * 2**20  # bytes of a concept's images


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


def run_fleet(jobs: Sequence[FleetJob], options: FleetOptions, events: Events | None = None) -> list[FleetRow]:
    """Learn concepts, and write fleet.json, .csv and .html beside their runs; returns a row for each.

    A concept whose worker or machine died goes on after its last checkpoint, on another one. So does everything when
    the same fleet is started again. Concepts that are complete are left as they are.

    Raises:
        UsageError: the extra is not installed, a concept is given twice, the output holds files of others.
        AtomtuneError: the output cannot be written.
        Interrupted: stopped by the user; workers save their states.
    """
    if find_spec("ray") is None:
        raise UsageError("fleet needs ray", "pip install 'atomtune[fleet]'")
    events = events or Events()
    names = [job.name for job in jobs]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise UsageError(f"the concept {excerpt(twice[0])} is given twice", "each has a folder of its own")
    if not jobs:
        raise UsageError("there are no concepts to learn", "a folder of folders with images, or a file of [[jobs]]")
    place = Place(options.output)
    if place.folder is not None:
        claim(place.folder, FILES)
    place.remove(STOP)
    rows = {job.name: FleetRow(job.name) for job in jobs}
    write_table(place, list(rows.values()))
    import ray

    local: dict[str, Any] = {} if options.address else {"include_dashboard": False, "object_store_memory": 200 * 2**20}
    ray.init(address=options.address or "local", log_to_driver=False, logging_level="error", **local)
    try:
        _learn_all(ray, list(jobs), options, place, rows, events)
    except KeyboardInterrupt as stop:
        place.write(STOP, b"")
        time.sleep(2 * _APART)
        code = getattr(stop, "exit_code", 130)
        raise Interrupted("stopped; the same command goes on", exit_code=code) from None
    finally:
        write_table(place, list(rows.values()))
        ray.shutdown()
    return list(rows.values())


def _learn_all(
    ray: Any, jobs: list[FleetJob], options: FleetOptions, place: Place, rows: dict[str, FleetRow], events: Events
) -> None:
    resources, count = _slots(ray.cluster_resources(), options)
    board = ray.remote(num_cpus=0)(_Board).remote()
    # Ray starts a worker that died again, and gives it what it was at
    made = ray.remote(max_restarts=-1, max_task_retries=options.retries, **resources)(_Actor)
    output = str(place.folder.absolute()) if place.folder is not None else place.address
    idle = [made.remote(output, board) for _ in range(min(count, len(jobs)))]
    running: dict[Any, tuple[Any, FleetJob]] = {}
    waiting = jobs[::-1]
    events.begin("fleet", len(jobs))
    while waiting or running:
        while waiting and idle:
            job = waiting.pop()
            try:
                sent = _packed(job, options)
            except AtomtuneError as problem:
                rows[job.name] = FleetRow(job.name, FAILED, error=problem.message, hint=problem.hint or "")
                continue
            actor = idle.pop()
            task = actor.learn.options(name=f"learn {job.name}").remote(sent)
            running[task] = actor, job
            rows[job.name] = replace(rows[job.name], state=TRAINING)
        ready, _ = ray.wait(list(running), timeout=_APART) if running else ([], [])
        for task in ready:
            actor, job = running.pop(task)
            idle.append(actor)
            rows[job.name] = _answer(ray, task, job)
            events.advance(_progress(rows, {}))
        if not ready:
            steps = ray.get(board.read.remote())
            for _, job in running.values():
                rows[job.name] = replace(rows[job.name], steps=steps.get(job.name, (0, 0))[0])
            events.phase(_progress(rows, steps))
        write_table(place, list(rows.values()))
    events.end()


def _answer(ray: Any, task: Any, job: FleetJob) -> FleetRow:
    try:
        row: FleetRow = ray.get(task)
    except ray.exceptions.RayError as problem:  # it died too often, or met what no concept is to blame for
        text = (str(problem).strip().splitlines() or ["no message"])[-1]
        return FleetRow(job.name, FAILED, error=excerpt(text, 300), hint="the same command tries it again")
    return row


def _slots(found: dict[str, float], options: FleetOptions) -> tuple[dict[str, float], int]:
    """The resources of a worker, and how many workers to have."""
    if found.get("GPU", 0) > 0:
        return {"num_cpus": 1, "num_gpus": options.gpus_per_job}, options.workers or max(
            1, int(found["GPU"] / options.gpus_per_job)
        )
    return {"num_cpus": 1}, options.workers or max(1, int(found.get("CPU", 1)))


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


def _progress(rows: dict[str, FleetRow], steps: dict[str, tuple[int, int]]) -> str:
    states = [row.state for row in rows.values()]
    learning = [row for row in rows.values() if row.name in steps and row.state == TRAINING]
    at = [f"{row.name} {row.steps}/{steps[row.name][1]}" for row in learning]
    failed = sum(state in (FAILED, STOPPED) for state in states)
    parts = [f"{states.count('done')} of {len(states)} done", *([f"{failed} failed"] if failed else []), *at[:4]]
    return ", ".join(parts)
