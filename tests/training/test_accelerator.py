"""accelerate's global state and variables: a run gets its own, whatever was there before, and leaves what was there."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from accelerate import Accelerator

from atomtune.errors import UsageError
from atomtune.training.accelerator import own_accelerate_state
from atomtune.training.options import TrainOptions
from atomtune.training.train import train

Options = Callable[..., TrainOptions]


def test_a_process_trains_several_times_with_other_options(options: Options, tmp_path: Path) -> None:
    first = train(options(steps=1), tmp_path / "first")
    other = train(options(steps=1, precision="bf16"), tmp_path / "other")
    again = train(options(steps=1), tmp_path / "again")
    assert first.sha256 == again.sha256 != other.sha256


def test_a_run_leaves_the_accelerator_of_a_script_as_it_is(options: Options, tmp_path: Path) -> None:
    with own_accelerate_state():
        mine = Accelerator(cpu=True, mixed_precision="bf16", gradient_accumulation_steps=3)
        train(options(steps=1), tmp_path / "run")
        assert mine.mixed_precision == "bf16"
        assert mine.gradient_accumulation_steps == 3


@pytest.mark.parametrize(
    "left_over",
    [
        {"RANK": "1", "LOCAL_RANK": "1"},
        {"OMPI_COMM_WORLD_RANK": "1"},
        {"LOCAL_RANK": "0", "WORLD_SIZE": "1", "RANK": "0"},
        {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4", "ACCELERATE_MIXED_PRECISION": "bf16"},
        {"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR", "ACCELERATE_TORCH_DEVICE": "meta"},
    ],
    ids=lambda variables: "+".join(variables),
)
def test_variables_that_a_launcher_left_over_change_nothing(
    left_over: dict[str, str], options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train(options(steps=2), tmp_path / "plain")
    for name, value in left_over.items():
        monkeypatch.setenv(name, value)
    assert train(options(steps=2), tmp_path / "run").sha256 == plain.sha256
    assert {name: os.environ[name] for name in left_over} == left_over


def test_ways_of_sharing_a_model_that_are_not_known_are_refused(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UsageError, match="ACCELERATE_USE_FSDP is set"):
        train(options(), tmp_path / "run")
    assert not (tmp_path / "run").exists()
