"""Compare tuning methods: every variant trained and scored on the same concepts, from the same seeds."""

import os
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path

from ..errors import AtomtuneError, Interrupted, UsageError, excerpt
from ..evaluation.encoders.base import Encoders, encoders_for
from ..files.output_folder import check_replaceable
from ..models.base_model import resolve
from ..models.options import AUTO
from ..runtime.progress import Events
from ..training.run_lock import run_lock
from .curves import curve_of
from .grouped import in_one_line
from .options import CompareOptions, Job, jobs_of
from .precision import shared_precision
from .runs import COMPARISON_FILES, Trained, check, made_by_0_1, train_missing, trained
from .scoring import Score, names_of, score_run, stored_score
from .subprocess_training import Trainer, train_apart
from .table import Run


@dataclass(frozen=True)
class Failure:
    """A run that could not be trained or scored, and why."""

    concept: str
    seed: int
    variant: str
    reason: str


@dataclass(frozen=True)
class Comparison:
    """What a comparison came to.

    Attributes:
        model: name of the base model, of a local one without its path; base_fingerprint: of its UNet.
    """

    options: CompareOptions
    model: str
    base_fingerprint: str
    runs: list[Run]
    failures: list[Failure]


Ahead = Callable[[Sequence[Job], Sequence[Job], CompareOptions, Events], list[Failure]]
"""Trains and scores runs, of which those named second replace others; returns what it could not do."""


def listed_failures(failures: Sequence[Failure], runs: int) -> str:
    """Why which of so many runs failed, in one line."""
    return in_one_line([(f"{one.concept}, seed {one.seed}, {one.variant}", one.reason) for one in failures], runs)


class NothingCompared(AtomtuneError):
    """Every run failed."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        super().__init__(
            f"no run could be compared: {listed_failures(failures, len(failures))}", "the same command tries again"
        )


def compare(
    options: CompareOptions,
    *,
    overwrite: bool = False,
    trainer: Trainer = train_apart,
    ahead: Ahead | None = None,
    events: Events | None = None,
) -> Comparison:
    """Train and score what is missing. What was interrupted goes on, what is complete is not done again.

    A run that fails (its loss is not finite, memory runs out) is left out, and tried again the next time.

    Args:
        overwrite: train those runs again that were trained otherwise.
        ahead: trains and scores on other machines; only what it leaves is done here, but for what failed there.

    Raises:
        UsageError: impossible options, runs on disk were trained otherwise, or the folder holds files that the results
            would replace and atomtune did not write.
        NothingCompared: all runs failed.
        AtomtuneError: the model, an encoder or a concept's images cannot be read; runs are of other base weights;
            another process works in the folder.
        Interrupted: stopped by the user; what was done is kept.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError(
            "compare trains one run after the other, on one device",
            "start it as atomtune compare, without accelerate launch",
        )
    events = events or Events()
    once = _Once(events)
    options = _with_one_precision(options)
    jobs = jobs_of(options)
    check_replaceable(options.output, COMPARISON_FILES, made_by_0_1(options))
    with run_lock(options.output, "compare"):
        replaced = {job.folder for job in check(jobs, once, overwrite)}
        source = resolve(options.training.model)
        model = source.name
        found = [] if replaced else _found(jobs, options)
        names = found[0].encoders if found else None
        if len(found) < len(jobs) or any(score.encoders != names for score in found):
            # before anything is trained: what cannot be scored need not be
            names = names_of(encoders_for(model, paths=options.encoder_paths, device=options.scoring.device))
        failed = ahead(jobs, [job for job in jobs if job.folder in replaced], options, events) if ahead else []
        keys = {(one.concept, one.seed, one.variant) for one in failed}
        left = [job for job in jobs if (job.subject.concept.name, job.seed, job.variant.name) not in keys]
        runs, failures = _train_and_score(
            left, set() if ahead else replaced, trainer, options, model, names, events, once
        )
        failures = [*failed, *failures]
    if not runs:
        raise NothingCompared(failures)
    return Comparison(options, source.public_name, runs[0].trained.base_fingerprint, runs, failures)


def _with_one_precision(options: CompareOptions) -> CompareOptions:
    training, scoring = options.training, options.scoring
    precision = shared_precision(training.precision, training.device, (job.folder for job in jobs_of(options)))
    scored_in = precision if scoring.precision == AUTO else scoring.precision
    return replace(
        options, training=replace(training, precision=precision), scoring=replace(scoring, precision=scored_in)
    )


def _train_and_score(
    jobs: Sequence[Job],
    replaced: Container[Path],
    trainer: Trainer,
    options: CompareOptions,
    model: str,
    names: dict[str, str] | None,
    events: Events,
    once: Events,
) -> tuple[list[Run], list[Failure]]:
    runs: list[Run] = []
    failures: list[Failure] = []
    count = 0
    for _, group in groupby(jobs, key=lambda job: (job.seed, job.subject.concept.name)):
        ready: list[tuple[Job, Trained]] = []
        for job in group:
            count += 1
            replacing = job.folder in replaced
            if replacing or trained(job) is None:
                events.phase(f"training {job.title} ({count} of {len(jobs)})")
            try:
                ready.append((job, train_missing(job, trainer, once, replacing)))
            except AtomtuneError as problem:
                failures.append(_failure(job, problem, events))
        runs += _scored(ready, options, model, names, failures, events, once)
        _check_base(runs)
    return runs, failures


def score_missing(jobs: Sequence[Job], options: CompareOptions) -> list[Failure]:
    """Score those of some runs that are trained and not scored, as `compare` would; returns what could not be scored.

    One process at a time scores the runs of a concept.

    Raises AtomtuneError where an encoder cannot be loaded.
    """
    failures: list[Failure] = []
    ready = [(job, done) for job in jobs if (done := trained(job)) is not None]
    model, once = resolve(options.training.model).name, _Once(Events())
    names = names_of(encoders_for(model, paths=options.encoder_paths, device=options.scoring.device))
    for _ in _scored(ready, options, model, names, failures, once, once):
        pass
    return failures


def _found(jobs: Sequence[Job], options: CompareOptions) -> list[Score]:
    """The scores that are there."""
    complete = [(job, done) for job in jobs if (done := trained(job)) is not None]
    return [score for job, done in complete if (score := stored_score(job, done, options)) is not None]


def _scored(
    ready: Sequence[tuple[Job, Trained]],
    options: CompareOptions,
    model: str,
    names: dict[str, str] | None,
    failures: list[Failure],
    events: Events,
    once: Events,
) -> Iterator[Run]:
    @cache  # for the runs of one concept and seed: the next ones' training wants the memory
    def encoders() -> Encoders:
        return encoders_for(model, paths=options.encoder_paths, device=options.scoring.device)

    for job, done in ready:
        score = stored_score(job, done, options, names)
        if score is None:
            events.phase(f"scoring {job.title}")
            try:
                score = score_run(job, done, options, encoders(), once)
            except AtomtuneError as problem:
                failures.append(_failure(job, problem, events))
                continue
        curve = curve_of(job, done, options, score, encoders, events)
        yield Run(job.subject.concept.name, job.seed, job.variant, job.options.lr, done, score, curve)


def _failure(job: Job, problem: AtomtuneError, events: Events) -> Failure:
    if isinstance(problem, Interrupted):
        raise problem
    failure = failed_run(job, problem.message)
    events.end()
    events.warn(f"{job.title}: {failure.reason}")
    return failure


def failed_run(job: Job, message: str) -> Failure:
    """That a run could not be trained or scored."""
    return Failure(job.subject.concept.name, job.seed, job.variant.name, excerpt(message, 300))


def _check_base(runs: Sequence[Run]) -> None:
    if len(bases := {run.trained.base_fingerprint for run in runs}) > 1:
        listed = ", ".join(sorted(base[:12] for base in bases))
        raise AtomtuneError(
            f"the runs are of base models with other weights ({listed})", "--output names another folder for this one"
        )


class _Once(Events):
    """Passes on a run's events, but for its phases, and each warning once only: all runs have the same."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self.warned: set[str] = set()

    def warn(self, text: str) -> None:
        if text not in self.warned:
            self.warned.add(text)
            self.events.warn(text)

    def begin(self, what: str, total: int, done: int = 0) -> None:
        self.events.begin(what, total, done)

    def advance(self, note: str = "") -> None:
        self.events.advance(note)

    def end(self) -> None:
        self.events.end()
