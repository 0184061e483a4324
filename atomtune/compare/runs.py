"""The runs of a comparison on disk: which are there, which differ from what is asked for; the training of others."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import AtomtuneError, UsageError
from ..models.base_model import resolve
from ..runtime.progress import Events
from ..training.material import read_material
from ..training.options import TrainOptions
from ..training.plan import plan
from ..training.resume import check_material, recorded_images
from ..training.run_folder import RunFolder
from ..training.run_lock import run_lock
from .grouped import in_one_line
from .options import CompareOptions, Job, jobs_of
from .subprocess_training import Order, Trainer, cost

COMPARISON_FILES = ("comparison.html", "comparison.csv", "runs.csv", "comparison.json")
"""What `report.write_comparison` writes, beside the runs."""

SCORE = "score.json"
"""A run's score, in its folder."""

CURVE = "curve.json"
"""Its measures at other scales."""

_PATIENCE = 60.0  # seconds


@dataclass(frozen=True)
class Trained:
    """What a run's training came to.

    Attributes:
        sha256: of the tensors in its atoms file.
        seconds: of the steps alone.
        peak_bytes, gpu_peak_bytes: the most memory of its process and of the GPU; None where that is not known.
    """

    base_fingerprint: str
    sha256: str
    parameters: int
    atoms_bytes: int
    steps: int
    seconds: float
    final_loss: float
    peak_bytes: int | None
    gpu_peak_bytes: int | None


def made_by_0_1(options: CompareOptions) -> bool:
    """Whether the folder holds runs of this comparison: version 0.1 kept no record of its files."""
    return any((job.folder / SCORE).is_file() for job in jobs_of(options))


def trained(job: Job) -> Trained | None:
    """What a complete run came to; None for one that is not, or not there yet. AtomtuneError if it is damaged."""
    folder = RunFolder(job.folder)
    if not folder.record.is_file() or not folder.atoms.is_file():
        return None
    record = folder.read_record()
    if "result" not in record:
        return None
    try:
        result = record["result"]
        peak, gpu_peak = cost(job.folder)
        return Trained(
            base_fingerprint=record["base_fingerprint"],
            sha256=result["sha256"],
            parameters=result["trainable_parameters"],
            atoms_bytes=result["atoms_bytes"],
            steps=result["steps"],
            seconds=result["seconds"],
            final_loss=result["final_loss"],
            peak_bytes=peak,
            gpu_peak_bytes=gpu_peak,
        )
    except (LookupError, TypeError) as problem:
        raise AtomtuneError(
            f"{folder.record} is incomplete ({problem})", f"take {job.folder} away, it is trained again then"
        ) from None


def check(jobs: Sequence[Job], events: Events, overwrite: bool = False) -> list[Job]:
    """Look at everything that can be wrong before the first hour of training. Returns the runs that are to be replaced.

    Each variant is planned on the model, each concept's images are read, and what is on disk is held against what is
    asked for: options, images and captions.

    Raises:
        UsageError: runs on disk were trained otherwise and `overwrite` is not set (every difference is listed), or a
            variant finds nothing to train.
        AtomtuneError: images, captions or a run's record cannot be read.
    """
    for job in {job.variant.name: job for job in jobs}.values():
        try:
            plan(job.options)
        except UsageError as problem:
            raise UsageError(f"{job.variant.name}: {problem.message}", problem.hint) from None
    changed: dict[Path, list[str]] = {}
    material: dict[tuple[str, int], list[dict[str, str]]] = {}
    for job in jobs:
        options, key = job.options, (job.subject.concept.name, job.seed if job.options.crop == "random" else 0)
        if key not in material:
            seen = read_material(options, resolve(options.model), options.resolution or 0, events)
            material[key] = seen.entries()
        try:
            found = _differences(job, material[key])
        except AtomtuneError as problem:
            if not overwrite:
                raise
            found = [problem.message]
        if found:
            changed[job.folder] = found
    if changed and not overwrite:
        names = {job.folder: job.place for job in jobs}
        differing = [(names[folder], line) for folder, found in changed.items() for line in found]
        raise UsageError(
            f"runs that are there were trained otherwise: {in_one_line(differing, len(jobs))}",
            "leave the changes out; --overwrite trains these runs again, --output names another folder",
        )
    return [job for job in jobs if job.folder in changed]


def _differences(job: Job, material: list[dict[str, str]]) -> list[str]:
    """What a run on disk was begun with and what is asked for now, a line for each difference; none without a run."""
    folder = RunFolder(job.folder)
    if not folder.record.is_file():
        return []
    record = folder.read_record()
    was = TrainOptions.from_dict(record.get("options", {})).flat_dict()
    now = job.options.flat_dict()
    found = [f"{name} was {_shown(was[name])}, now {_shown(now[name])}" for name in now if was[name] != now[name]]
    try:
        check_material(recorded_images(record), material)
    except UsageError as problem:
        found += problem.message.splitlines()[1:]
    return found


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, str) else repr(value)


def _wait_for_orphan(folder: Path, events: Events) -> None:
    """Wait while the training process of a comparison that was killed still saves its state in a run's folder.

    Raises AtomtuneError where another process holds the folder for longer.
    """
    until = time.monotonic() + _PATIENCE
    waiting = False
    while folder.is_dir():
        try:
            with run_lock(folder, "compare"):
                return
        except AtomtuneError:
            if time.monotonic() > until:
                raise
        if not waiting:
            events.phase(f"waiting for another process in {folder}")
            waiting = True
        time.sleep(0.2)


def train_missing(job: Job, trainer: Trainer, events: Events, replace: bool = False) -> Trained:
    """Train a run, or go on with it; one that is complete is left as it is.

    The state to resume from is taken away when a run is complete: there may be hundreds of runs.

    Args:
        replace: start again, whatever is there.

    Raises as `Trainer`.
    """
    folder = RunFolder(job.folder)
    done = None if replace else trained(job)
    if done is None:
        _wait_for_orphan(job.folder, events)
        begun = not replace and folder.record.is_file()
        trainer(Order(job.options, job.folder, resume=begun, overwrite=not begun), events)
        done = trained(job)
        assert done is not None
    folder.checkpoint.unlink(missing_ok=True)
    return done
