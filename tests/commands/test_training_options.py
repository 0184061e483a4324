"""The training options reach the run, and what they offer is what there is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomtune.errors import UsageError
from atomtune.methods import METHODS
from atomtune.methods.options import default_spec
from atomtune.methods.specs import SPECS
from atomtune.runtime.options import options_of
from atomtune.training.options import TrainOptions

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


def test_what_does_not_fit_together_is_listed(cli: Cli) -> None:
    answer = cli("train", "--concept", "castle", "--warmup", "2000", "--ema-decay", "1", "--prior-prompt", "x")
    assert answer.code == 2
    assert sorted(line.split()[1] for line in answer.err.splitlines()[:-1]) == [
        "--ema-decay",
        "--prior-prompt",
        "--warmup",
        "--warmup",
    ]


def test_the_methods_that_can_be_chosen_are_those_that_there_are(cli: Cli) -> None:
    assert {name: method.spec for name, method in METHODS.items()} == SPECS
    answer = cli("train", "--concept", "castle", "--method", "lore")
    assert answer.code == 2
    assert all(name in answer.err for name in METHODS)


def test_every_field_of_a_methods_spec_is_an_option_with_its_default_in_the_help() -> None:
    options = {option.name: option for option in options_of(TrainOptions)}
    for method in METHODS:
        for option in options_of(type(default_spec(method))):
            assert options[option.name].path == ("spec", option.name)
    assert options["rank"].default_text == "lora, loha, lokr, loralib 8; loldu 32"
    assert options["layers"].default_text == "all; loldu, oft-scaled attention"


def test_the_learning_rate_is_the_methods_own_and_the_help_says_which() -> None:
    from atomtune.data.concept import Concept

    rates = {name: TrainOptions(concept=Concept("mug"), method=name).lr for name in METHODS}
    assert rates == {name: method.learning_rate for name, method in METHODS.items()}
    said = next(option for option in options_of(TrainOptions) if option.name == "lr").default_text
    usual, *others = said.split("; ")
    listed = dict(one.split(" ") for one in ", ".join(others).split(", "))
    assert {name: float(listed.get(name, usual)) for name in METHODS} == rates


@pytest.mark.parametrize("method", METHODS)
def test_a_method_alone_takes_its_default_spec(method: str) -> None:
    from atomtune.data.concept import Concept

    assert TrainOptions(concept=Concept("mug"), method=method).spec == default_spec(method)
