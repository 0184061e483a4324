"""A comparison whose runs others train and score: the same figures, and what fails there is not tried here."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from atomtune.compare.compare import Failure, compare
from atomtune.compare.options import CompareOptions, Job
from atomtune.compare.subprocess_training import Order, train_here
from atomtune.errors import AtomtuneError
from atomtune.fleet.comparison import OnCluster, _score, _train
from atomtune.fleet.options import ClusterOptions
from atomtune.runtime.progress import Events

from .conftest import Compared

Made = Callable[..., CompareOptions]


def refuse(order: Order, events: Events) -> None:
    raise AssertionError(f"{order.output} is trained here")


def one_by_one(jobs: Sequence[Job], replaced: Sequence[Job], options: CompareOptions, events: Events) -> list[Failure]:
    """What the processes of a cluster do, here."""
    failures = [failure for job in jobs for failure in _train(Path.cwd(), job, job in replaced)]
    return [*failures, *_score(Path.cwd(), jobs, options)]


def test_what_others_did_is_not_done_again_and_what_failed_there_is_told(
    made: Made, tmp_path: Path, compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = train_here

    def failing(order: Order, events: Events) -> None:
        if order.options.method == "bitfit":
            raise AtomtuneError("the loss is not finite")
        own(order, events)

    monkeypatch.setattr("atomtune.fleet.comparison.train_here", failing)
    options = replace(made(tmp_path), seeds=(0,))
    result = compare(options, trainer=refuse, ahead=one_by_one)
    (run,), (failure,) = result.runs, result.failures
    assert run.trained.sha256 == compared.result.runs[0].trained.sha256
    assert run.score.measures == compared.result.runs[0].score.measures
    assert failure == Failure("castle", 0, "bitfit", "the loss is not finite")


@pytest.mark.slow
def test_processes_of_ray_come_to_the_same_figures(
    made: Made, tmp_path: Path, compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="ray of the extra fleet is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "300")
    result = compare(made(tmp_path), trainer=refuse, ahead=OnCluster(ClusterOptions()))
    assert not result.failures
    for ours, theirs in zip(result.runs, compared.result.runs, strict=True):
        assert (ours.variant, ours.seed, ours.trained.sha256) == (theirs.variant, theirs.seed, theirs.trained.sha256)
        assert ours.score.measures == theirs.score.measures
        assert ours.trained.peak_bytes is not None
