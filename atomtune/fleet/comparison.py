"""The runs of a comparison, trained and scored by the workers of a Ray cluster."""

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import Any

from ..compare.compare import Failure, failed_run, score_missing
from ..compare.options import CompareOptions, Job
from ..compare.runs import train_missing, trained
from ..compare.subprocess_training import train_here
from ..errors import AtomtuneError
from ..runtime.progress import Events
from .cluster import connect, last_line, resources
from .options import ClusterOptions

_APART = 2.0  # seconds between two looks at the workers
_RETRIES = 2  # times that something is tried again after its process died


class OnCluster:
    """Trains the runs of a comparison, each in a process of its own, and scores those of a concept by one process.

    An `Ahead` of `compare`. All machines see the folders under the same paths.
    """

    def __init__(self, options: ClusterOptions) -> None:
        self._options = options

    def __call__(
        self, jobs: Sequence[Job], replaced: Sequence[Job], options: CompareOptions, events: Events
    ) -> list[Failure]:
        """Train and score what is missing.

        Raises UsageError where Ray is not installed, AtomtuneError where the cluster cannot be reached.
        """
        with redirect_stdout(sys.stderr):  # where Ray tells of machines that died
            ray = connect(self._options)
            try:
                return self._do(ray, jobs, {job.folder for job in replaced}, options, events)
            finally:
                ray.shutdown()

    def _do(
        self, ray: Any, jobs: Sequence[Job], replaced: set[Path], options: CompareOptions, events: Events
    ) -> list[Failure]:
        needed, _ = resources(ray, self._options)
        # a process for each, as the memory that a training took is that of its process
        remote = ray.remote(max_calls=1, max_retries=_RETRIES, **needed)
        train, score = remote(_train), remote(_score)
        folder, failures = Path.cwd(), list[Failure]()
        running: dict[Any, list[Job]] = {}
        training: dict[Any, Job] = {}
        for job in jobs:
            if job.folder in replaced or trained(job) is None:
                task = train.options(name=f"train {job.title}").remote(folder, job, job.folder in replaced)
                running[task], training[task] = [job], job
        left = Counter(map(_concept, training.values()))
        wanted = {concept: [job for job in jobs if _concept(job) == concept] for concept in map(_concept, jobs)}

        def begin_to_score(concept: str) -> None:
            lost = {(one.concept, one.seed, one.variant) for one in failures}
            some = [job for job in wanted[concept] if (concept, job.seed, job.variant.name) not in lost]
            running[score.options(name=f"score {concept}").remote(folder, some, options)] = some

        for concept in wanted.keys() - left.keys():
            begin_to_score(concept)
        events.begin("compare", len(training) + len(wanted))
        while running:
            ready, _ = ray.wait(list(running), timeout=_APART)
            for task in ready:
                some = running.pop(task)
                try:
                    found: list[Failure] = ray.get(task)
                except ray.exceptions.RayError as problem:
                    found = [failed_run(job, last_line(problem)) for job in some]
                for one in found:
                    events.warn(f"{one.concept}, seed {one.seed}, {one.variant}: {one.reason}")
                failures += found
                events.advance()
                if (trained_one := training.get(task)) is not None:
                    left[_concept(trained_one)] -= 1
                    if not left[_concept(trained_one)]:
                        begin_to_score(_concept(trained_one))
            events.note(f"{len(running)} at work or waiting")
        events.end()
        return failures


def _concept(job: Job) -> str:
    return job.subject.concept.name


def _train(folder: Path, job: Job, replace: bool) -> list[Failure]:
    """In a process of Ray's."""
    with chdir(folder):
        try:
            train_missing(job, train_here, Events(), replace)
        except AtomtuneError as problem:
            return [failed_run(job, problem.message)]
    return []


def _score(folder: Path, jobs: Sequence[Job], options: CompareOptions) -> list[Failure]:
    """In a process of Ray's."""
    with chdir(folder):
        try:
            return score_missing(jobs, options)
        except AtomtuneError as problem:
            return [failed_run(job, problem.message) for job in jobs]
