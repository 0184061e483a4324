"""How long a comparison will take on this machine: a few steps of every variant and a few images, timed."""

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from atomtune.commands.console import duration
from atomtune.compare.curves import missing_scales
from atomtune.compare.options import CompareOptions, Job, jobs_of
from atomtune.compare.runs import trained
from atomtune.compare.scoring import stored_score
from atomtune.compare.subprocess_training import Order, Trainer, train_apart
from atomtune.data.concept import read_prompts
from atomtune.evaluation.image_sets import DRIFT_PROMPTS
from atomtune.files.untrusted_json import parse_json, read_json
from atomtune.models.base_model import resolve
from atomtune.runtime.progress import Events
from atomtune.runtime.units import counted
from atomtune.sampling.generate import generate_images, load_sampler
from atomtune.training.run_folder import RunFolder

STEPS = 4
"""Steps that are timed; the first, which warms up, does not count."""


@dataclass(frozen=True)
class Timing:
    """Of a variant, in seconds: a step, and what a run takes besides its steps."""

    step: float
    besides: float


@dataclass(frozen=True)
class Estimate:
    """Seconds that are left, and what they rest on.

    Attributes:
        runs, done: of the comparison; done are trained and scored.
        timings: by variant. image: seconds of one.
        left: seconds of training by variant. images: how many are to be drawn.
    """

    runs: int
    done: int
    timings: dict[str, Timing]
    image: float
    left: dict[str, float]
    images: int

    @property
    def seconds(self) -> float:
        """All that is left."""
        return sum(self.left.values()) + self.images * self.image


def estimate(options: CompareOptions, work: Path, events: Events, trainer: Trainer = train_apart) -> Estimate:
    """Time what is not known from runs that are there, or from an earlier estimate (`work`/timings.json).

    Raises as training and sampling do.
    """
    jobs = jobs_of(options)
    done = {job.folder: trained(job) for job in jobs}
    known = _read(work / "timings.json", _conditions(options))
    timings: dict[str, Timing] = {}
    for variant in options.variants:
        name, job = variant.name, next(job for job in jobs if job.variant == variant)
        if name not in known:
            events.phase(f"timing {name}")
            timed = asdict(_timed(job, work, trainer))
            # read again: several calls may share the folder
            known = {**_read(work / "timings.json", _conditions(options)), **known, name: timed}
            _write(work / "timings.json", _conditions(options), known)
        timings[name] = Timing(**known[name])
    for job in jobs:
        if (run := done[job.folder]) is not None:
            timings[job.variant.name] = replace(timings[job.variant.name], step=run.seconds / run.steps)
    if "an image" not in known:
        events.phase("timing images")
        known["an image"] = _image_seconds(options)
        _write(work / "timings.json", _conditions(options), known)
    left = {
        name: sum(
            timing.besides + timing.step * job.options.steps
            for job in jobs
            if job.variant.name == name and done[job.folder] is None
        )
        for name, timing in timings.items()
    }
    unscored = [job for job in jobs if (run := done[job.folder]) is None or stored_score(job, run, options) is None]
    images = sum(_images(job, options) for job in unscored)
    images += sum(_images(job, options) for job in {job.subject.concept.name: job for job in unscored}.values())
    images += sum(_images(job, options) * len(missing_scales(job, done[job.folder], options)) for job in jobs)
    return Estimate(len(jobs), len(jobs) - len(unscored), timings, known["an image"], left, images)


def told(found: Estimate) -> str:
    """An estimate in words and a table."""
    lines = ["| variant | seconds a step | seconds besides | left |", "|---|--:|--:|--:|"]
    for name, timing in found.timings.items():
        lines.append(f"| {name} | {timing.step:.3f} | {timing.besides:.1f} | {duration(found.left[name])} |")
    return "\n".join(
        [
            *lines,
            "",
            f"{counted(found.runs, 'run')}, {found.done} of them done. Training {duration(sum(found.left.values()))}, "
            f"{counted(found.images, 'image')} of {found.image:.2f} s {duration(found.images * found.image)}.",
            f"In all about {duration(found.seconds)}.",
        ]
    )


def _timed(job: Job, work: Path, trainer: Trainer) -> Timing:
    options = replace(job.options, steps=STEPS, checkpoint_every=10**6, warmup=0)
    work.mkdir(parents=True, exist_ok=True)
    # a folder that is this call's alone; with some methods hundreds of megabytes go into it
    with tempfile.TemporaryDirectory(prefix="timing-", dir=work) as place:
        folder = Path(place) / "run"
        began = time.perf_counter()
        trainer(Order(options, folder), Events())
        whole = time.perf_counter() - began
        log = RunFolder(folder).log.read_text(encoding="utf-8").splitlines()
    seconds = [float(parse_json(line)["seconds"]) for line in log]
    step = (seconds[-1] - seconds[0]) / (len(seconds) - 1)
    return Timing(step, max(0.0, whole - step * len(seconds)))


def _image_seconds(options: CompareOptions) -> float:
    scoring, subject = options.scoring, options.subjects[0]
    source = resolve(options.training.model)
    pipeline = load_sampler(source, scoring.scheduler, scoring.device, scoring.precision)
    prompt = read_prompts(subject.prompts, [subject.concept])[0]
    wanted = [(prompt, seed) for seed in range(scoring.batch_size)]
    list(generate_images(pipeline, wanted, replace(scoring.settings, steps=1), scoring.batch_size))
    began = time.perf_counter()
    list(generate_images(pipeline, wanted, scoring.settings, scoring.batch_size))
    return (time.perf_counter() - began) / len(wanted)


def _images(job: Job, options: CompareOptions) -> int:
    prompts = read_prompts(job.subject.prompts, [job.subject.concept])
    return len(prompts) * options.scoring.per_prompt + len(DRIFT_PROMPTS)


def _conditions(options: CompareOptions) -> str:
    """What times depend on, besides the machine."""
    training, scoring = jobs_of(options)[0].options, options.scoring
    of_training = [training.model, training.batch_size, training.grad_accum, training.resolution, training.precision]
    return str([*of_training, training.device, str(scoring.settings), scoring.scheduler, scoring.batch_size])


def _read(path: Path, conditions: str) -> dict[str, Any]:
    try:
        told_before = read_json(path)
        return dict(told_before["timings"]) if told_before["conditions"] == conditions else {}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def _write(path: Path, conditions: str, timings: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"conditions": conditions, "timings": timings}, indent=1) + "\n", encoding="utf-8")
