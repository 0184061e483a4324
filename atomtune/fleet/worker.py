"""A worker: holds the base model, and learns one concept after the other."""

import logging
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from ..errors import AtomtuneError, Interrupted
from ..files.manifest import NAME as MANIFEST
from ..runtime.progress import Events
from ..training.loaded_base import LoadedBase
from ..training.options import TrainOptions
from ..training.resume import found_again, same_run
from ..training.run_folder import RunFolder
from ..training.train import train
from .options import DONE, FAILED, STOPPED, FleetJob, FleetRow
from .place import Place
from .thumbnail import NAME as THUMBNAIL
from .thumbnail import write_thumbnail

STOP = ".atomtune-fleet-stop"
"""A file of this name in the output has every worker save its state and stop."""

_APART = 2.0  # seconds between two looks for it, and two reports of progress
_NOT_SHARED = (".atomtune.lock", ".atomtune.lock.json")

Report = Callable[[str, int, int], None]
"""Is told the concept, the steps taken, and those to take."""


class FleetWorker:
    """Learns concepts into `output`; a concept that was begun there goes on after its last checkpoint.

    Runs are trained in place in a folder. For other addresses they are trained in a temporary folder, and what a run
    writes is copied out with each checkpoint.
    """

    def __init__(self, output: str, report: Report) -> None:
        self._place, self._report = Place(output), report
        self._base = LoadedBase()

    def learn(self, job: FleetJob) -> FleetRow:
        """Learn a concept. What is wrong with it is told in the row, and is no exception."""
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="atomtune-fleet-")))
            try:
                return self._learn(job, scratch)
            except Interrupted as stopped:
                return FleetRow(job.name, STOPPED, error=stopped.message)
            except AtomtuneError as problem:
                return FleetRow(job.name, FAILED, error=problem.message, hint=problem.hint or "")

    def _learn(self, job: FleetJob, scratch: Path) -> FleetRow:
        if self._place.exists(STOP):
            return FleetRow(job.name, STOPPED, error="stopped before it began")
        run = RunFolder(scratch / "run", job.name)
        if self._place.folder is not None:
            run = RunFolder(self._place.folder / job.name)
        is_complete = self._bring(job, run)
        events = _Following(job.name, self._place, self._report, None if self._place.folder is not None else run)
        images = job.options.images
        if not is_complete:
            images = _images(job, scratch / "images")
            try:
                train(replace(job.options, images=images), run.path, events=events, loaded=self._base)
            except Interrupted:
                events.share()
                raise
            write_thumbnail(run, images)
            events.share()
        row = _row(run, replace(job.options, images=images))
        has_image = self._place.exists(f"{job.name}/{THUMBNAIL}")
        return replace(row, thumbnail=f"{quote(job.name)}/{THUMBNAIL}" if has_image else "")

    def _bring(self, job: FleetJob, run: RunFolder) -> bool:
        """Bring what there is of a run to its folder here, of a complete one the record alone.

        Returns whether it is complete.
        """
        if self._place.folder is not None:
            return run.is_finished() and run.atoms.is_file()
        record = self._place.read(f"{job.name}/{run.record.name}")
        if record is not None:
            run.path.mkdir()
            run.record.write_bytes(record)
            if run.is_finished() and self._place.exists(f"{job.name}/{run.atoms.name}"):
                return True
        self._place.fetch(job.name, run.path)
        return False


class _Following(Events):
    """Reports progress, looks for the order to stop, and copies out what a run wrote once it has a new checkpoint."""

    def __init__(self, name: str, place: Place, report: Report, run: RunFolder | None) -> None:
        self._name, self._place, self._report, self._run = name, place, report, run
        self._done = self._total = 0
        self._last = time.monotonic()
        self._training = False
        self._shared = _stamps(run.path) if run is not None else {}

    def phase(self, text: str) -> None:
        """Not told further."""

    def warn(self, text: str) -> None:
        """Goes to the log of the worker's process."""
        logging.getLogger("atomtune.fleet").warning("%s: %s", self._name, text)

    def begin(self, what: str, total: int, done: int = 0) -> None:
        self._training = what == "train"
        self._total, self._done = total, done

    def advance(self, note: str = "") -> None:
        if not self._training:
            return
        self._done += 1
        if self._run is not None and self._shared.get("checkpoint.safetensors") != _stamp(self._run.checkpoint):
            self.share()
        if time.monotonic() - self._last > _APART:
            self._last = time.monotonic()
            self._report(self._name, self._done, self._total)
            if self._place.exists(STOP):
                signal.raise_signal(signal.SIGTERM)  # as training expects it: it ends the step and saves

    def share(self) -> None:
        """Copy out every file that changed, in an order in which it may break off.

        Without what the run wrote and what it was asked nothing goes on, so these come first; but the record comes last
        where it says that the run is complete. The checkpoint comes after what it relies on.
        """
        if self._run is None:
            return
        now = _stamps(self._run.path)
        record, checkpoint = self._run.record.name, self._run.checkpoint.name
        order = {MANIFEST: -2, record: 2 if self._run.is_finished() else -1, checkpoint: 1}
        changed = [name for name, stamp in now.items() if self._shared.get(name) != stamp]
        for name in sorted(changed, key=lambda name: (order.get(name, 0), name)):
            self._place.write(f"{self._name}/{name}", (self._run.path / name).read_bytes())
        self._shared = now


def _stamps(folder: Path) -> dict[str, tuple[int, int]]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in _NOT_SHARED]
    return {path.relative_to(folder).as_posix(): _stamp(path) for path in files}


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _images(job: FleetJob, folder: Path) -> Path:
    """The folder of a concept's images on this machine."""
    if job.packed:
        folder.mkdir(parents=True)
        for name, content in job.packed:
            (folder / Path(name).name).write_bytes(content)
        return folder
    if not job.images:
        return job.options.images
    if not Place(job.images).fetch("", folder):
        raise AtomtuneError(f"there are no images in {job.images}", "the address of a folder with images")
    return folder


def _row(folder: RunFolder, options: TrainOptions) -> FleetRow:
    """The row of a run that is complete. Raises UsageError where it was trained with other options."""
    record = folder.read_record()
    stored = found_again(TrainOptions.from_dict(record.get("options", {})), folder.path, record)
    asked = replace(options, model=options.model or stored.model, resolution=options.resolution or stored.resolution)
    same_run(stored, asked, folder.path)
    result = record["result"]
    return FleetRow(
        options.concept.name,
        DONE,
        steps=result["steps"],
        resumed_from=result["resumed_from"],
        seconds=result["seconds"],
        total_seconds=result["total_seconds"],
        final_loss=result["final_loss"],
        parameters=result["trainable_parameters"],
        bytes=result["atoms_bytes"],
        sha256=result["sha256"],
    )
