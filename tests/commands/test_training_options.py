"""The training options reach the run, and offer what the floor below knows."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from atomtune.commands.train import train
from atomtune.errors import UsageError
from atomtune.training.options import OPTIMIZERS, SCHEDULES, TRACKERS, TrainOptions

Cli = Callable[..., Any]

GIVEN: dict[str, tuple[list[str], Any]] = {
    "grad_accum": (["4"], 4),
    "gradient_checkpointing": ([], True),
    "low_memory": ([], True),
    "compile": ([], True),
    "optimizer": (["prodigy"], "prodigy"),
    "lr_scheduler": (["cosine-restarts"], "cosine-restarts"),
    "warmup": (["5"], 5),
    "lr_cycles": (["2"], 2),
    "lr_power": (["1.5"], 1.5),
    "max_grad_norm": (["0"], 0.0),
    "min_snr_gamma": (["5"], 5.0),
    "noise_offset": (["0.1"], 0.1),
    "prior_preservation": ([], True),
    "prior_images": (["7"], 7),
    "prior_weight": (["0.5"], 0.5),
    "prior_prompt": (["a {}"], "a {}"),
    "ema": ([], True),
    "ema_decay": (["0.99"], 0.99),
    "tracker": (["wandb"], "wandb"),
}


def test_every_training_option_reaches_the_run(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[TrainOptions, frozenset[str]]] = []

    def run(options: TrainOptions, _output: Path, *, explicit: frozenset[str], **_rest: Any) -> None:
        seen.append((options, explicit))
        raise UsageError("enough")

    monkeypatch.setattr("atomtune.training.train.train", run)
    flags = [word for name, (value, _) in GIVEN.items() for word in (f"--{name.replace('_', '-')}", *value)]
    assert "enough" in cli("train", "--concept", "castle", *flags).err
    options, explicit = seen[0]
    assert {name: getattr(options, name) for name in GIVEN} == {name: value for name, (_, value) in GIVEN.items()}
    assert explicit == set(GIVEN)


def test_the_choices_are_those_of_the_floor_below() -> None:
    parameters = inspect.signature(train, eval_str=True).parameters

    def choices(name: str) -> set[str]:
        kind = get_args(parameters[name].annotation)[0]
        members = [member for member in get_args(kind) if member is not type(None)]
        return set(get_args(members[0])) if get_args(members[0]) else set(members)

    assert choices("optimizer") == set(OPTIMIZERS)
    assert choices("lr_scheduler") == set(SCHEDULES)
    assert choices("tracker") == set(TRACKERS)


def test_what_does_not_fit_together_is_listed(cli: Cli) -> None:
    answer = cli("train", "--concept", "castle", "--warmup", "2000", "--ema-decay", "1", "--prior-prompt", "x")
    assert answer.code == 2
    assert sorted(line.split()[1] for line in answer.err.splitlines()[:-1]) == [
        "ema_decay",
        "prior_prompt",
        "warmup",
        "warmup",
    ]
