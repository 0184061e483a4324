"""Optimisers, schedules and averages against their formulas, and what is said where a package is missing."""

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from atomtune.errors import AtomtuneError, Interrupted
from atomtune.files.checkpoint import Checkpoint, load_checkpoint, parameters_of, save_checkpoint
from atomtune.training.ema import Average
from atomtune.training.optimizers import (
    advise,
    begin_training,
    evaluated,
    learning_rate,
    make_optimizer,
    make_schedule,
    require_package,
)
from atomtune.training.options import OPTIMIZERS, SCHEDULES, OptimizerOptions, TrainOptions
from atomtune.training.train import train
from stopping import StopAfter

CPU = torch.device("cpu")
STEPS, WARMUP = 12, 3


def parameters() -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return {name: nn.Parameter(torch.randn(3, 4, generator=generator)) for name in ("a", "b")}


def take_steps(named: dict[str, nn.Parameter], optimizer: Any, steps: range, schedule: Any = None) -> None:
    for step in steps:
        optimizer.zero_grad()
        sum((p - step).square().sum() for p in named.values()).backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()


def share(name: str, step: int) -> float:
    """The share of the full rate at a step, by the schedules' definitions."""
    if name != "constant" and step < WARMUP:
        return step / WARMUP
    progress = (step - WARMUP) / (STEPS - WARMUP)
    return {
        "constant": 1.0,
        "constant-with-warmup": 1.0,
        "linear": 1.0 - progress,
        "cosine": 0.5 * (1.0 + math.cos(math.pi * progress)),
        "cosine-restarts": 0.5 * (1.0 + math.cos(math.pi * (3 * progress % 1.0))),
        "polynomial": 1e-5 + (1 - 1e-5) * (1.0 - progress) ** 2,
    }[name]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_follows_its_formula(name: str) -> None:
    named = parameters()
    warmup = 0 if name == "constant" else WARMUP
    options = OptimizerOptions(
        lr=0.01, weight_decay=0.0, lr_scheduler=name, steps=STEPS, warmup=warmup, lr_cycles=3, lr_power=2.0
    )
    optimizer = make_optimizer(options, named.values(), CPU)
    schedule = make_schedule(options, optimizer)
    for step in range(STEPS):
        # polynomial ends at diffusers' 1e-7, here 1e-5 of the rate
        assert learning_rate(optimizer) == pytest.approx(0.01 * share(name, step), rel=1e-6, abs=1e-12)
        take_steps(named, optimizer, range(1), schedule)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("schedule_name", ["constant", "cosine"])
def test_a_checkpoint_keeps_an_optimizer_and_its_schedule(tmp_path: Path, name: str, schedule_name: str) -> None:
    if name == "prodigy":
        pytest.importorskip("prodigyopt")
    if name == "adamw8bit":
        pytest.importorskip("bitsandbytes")
        if not torch.cuda.is_available():
            pytest.skip("8-bit AdamW needs a CUDA device")
    device = torch.device("cuda" if name == "adamw8bit" else "cpu")

    def start() -> tuple[dict[str, nn.Parameter], Any, Any]:
        named = {key: nn.Parameter(value.detach().to(device)) for key, value in parameters().items()}
        options = OptimizerOptions(optimizer=name, lr=0.1, lr_scheduler=schedule_name, steps=9)
        optimizer = make_optimizer(options, named.values(), device)
        return named, optimizer, make_schedule(options, optimizer)

    named, optimizer, schedule = start()
    take_steps(named, optimizer, range(4), schedule)
    held = Checkpoint(
        4, parameters_of(named), optimizer.state_dict(), {}, [0.5] * 4, 1.0, schedule=schedule.state_dict()
    )
    save_checkpoint(tmp_path / "c.safetensors", held)
    take_steps(named, optimizer, range(4, 9), schedule)

    read = load_checkpoint(tmp_path / "c.safetensors")
    again, resumed, its_schedule = start()
    with torch.no_grad():
        for key, parameter in again.items():
            parameter.copy_(read.parameters[key])
    resumed.load_state_dict(read.optimizer)
    its_schedule.load_state_dict(read.schedule)
    assert its_schedule.get_last_lr() == held.schedule["_last_lr"]
    take_steps(again, resumed, range(4, 9), its_schedule)
    assert all(torch.equal(again[key], parameter) for key, parameter in named.items())
    assert learning_rate(resumed) == learning_rate(optimizer)


def test_prodigy_keeps_standard_output_clean(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("prodigyopt")
    optimizer = make_optimizer(OptimizerOptions(optimizer="prodigy", lr=1.0), parameters().values(), CPU)
    assert capsys.readouterr().out == ""
    assert learning_rate(optimizer) == optimizer.param_groups[0]["d"]


@pytest.mark.parametrize(
    ("option", "value", "package"),
    [
        ("optimizer", "adamw8bit", "bitsandbytes"),
        ("optimizer", "prodigy", "prodigyopt"),
        ("tracker", "tensorboard", "tensorboard"),
        ("tracker", "wandb", "wandb"),
    ],
)
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, option: str, value: str, package: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(AtomtuneError, match=f"--{option} {value} needs the package {package}") as missing:
        require_package(option, value)
    assert missing.value.hint == f"pip install {package}"
    require_package("optimizer", "adamw")
    require_package("tracker", None)


def test_eight_bits_need_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    with pytest.raises(AtomtuneError, match="needs a CUDA device"):
        make_optimizer(OptimizerOptions(optimizer="adamw8bit"), parameters().values(), CPU)


def test_a_small_rate_for_prodigy_is_pointed_out() -> None:
    assert "1 is usual" in (advise(OptimizerOptions(optimizer="prodigy")) or "")
    assert advise(OptimizerOptions(optimizer="prodigy", lr=1.0)) is None
    assert advise(OptimizerOptions()) is None


def test_the_average_follows_its_formula_and_stands_in_for_a_while() -> None:
    named = parameters()
    average = Average(named, decay=0.3)
    expected = {name: parameter.detach().clone() for name, parameter in named.items()}
    for step in range(5):
        with torch.no_grad():
            for parameter in named.values():
                parameter.add_(step)
        average.update()
        decay = min((1 + step) / (10 + step), 0.3) if step else 0.0
        expected = {name: decay * expected[name] + (1 - decay) * named[name].detach() for name in named}
    own = parameters_of(named)
    with average.in_place():
        assert all(torch.allclose(named[name], expected[name]) for name in named)
    assert all(torch.equal(named[name], own[name]) for name in named)

    other = Average(named, decay=0.3)
    other.restore(average.state(), steps=5)
    with torch.no_grad():
        named["a"].mul_(2.0)
    average.update()
    other.update()
    assert all(torch.equal(average.state()[name], other.state()[name]) for name in named)


def test_any_optimizer_of_an_installed_package_with_its_arguments() -> None:
    named = parameters()
    options = OptimizerOptions(
        lr=0.5, optimizer="torch.optim.SGD", optimizer_args=("momentum=0.9", "nesterov=True"), weight_decay=0.01
    )
    made = make_optimizer(options, named.values(), CPU)
    assert type(made) is torch.optim.SGD
    group = made.param_groups[0]
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (0.5, 0.9, True, 0.01)
    adam = OptimizerOptions(lr=0.5, optimizer_args=("betas=(0.8, 0.9)",))
    assert make_optimizer(adam, named.values(), CPU).param_groups[0]["betas"] == (0.8, 0.9)


@pytest.mark.parametrize(
    ("optimizer", "arguments", "said"),
    [
        ("torch.optim.SGD", ("momentums=0.9",), r"torch\.optim\.SGD refuses its arguments: .*momentums"),
        ("torch.optim.SGD", ("momentum=-1",), r"torch\.optim\.SGD refuses its arguments: .*momentum"),
        ("torch.optim.LBFGS", (), r"takes each step by calling the model again"),
        ("torch.optim.Momentum", (), "is no optimizer of torch's kind"),
        ("torch.nn.Linear", (), "is no optimizer of torch's kind"),
        ("torch.none.SGD", (), r"No module named 'torch\.none'"),
        ("nowhere.SGD", (), "no such package is installed"),
        ("os.system", (), "no such package is installed"),
    ],
)
def test_optimizers_that_cannot_be_are_one_line_and_a_hint(
    optimizer: str, arguments: tuple[str, ...], said: str
) -> None:
    options = OptimizerOptions(lr=0.5, optimizer=optimizer, optimizer_args=arguments)
    with pytest.raises(AtomtuneError, match=said) as problem:
        make_optimizer(options, parameters().values(), CPU)
    assert problem.value.hint
    assert "\n" not in problem.value.message


def test_code_that_lies_in_the_folder_is_no_optimizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(AtomtuneError, match="no such package is installed"):
        make_optimizer(OptimizerOptions(lr=0.5, optimizer="evil.Evil"), parameters().values(), CPU)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optimizer": "adam"}, "must be one of adamw, adamw8bit, prodigy, or a class"),
        ({"optimizer_args": ("momentum",)}, "takes NAME=VALUE, not 'momentum'"),
        ({"optimizer_args": ("a b=1",)}, "takes NAME=VALUE"),
    ],
)
def test_names_and_arguments_that_mean_nothing_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(AtomtuneError, match=said):
        OptimizerOptions(lr=0.5, **changes)


class Modal(torch.optim.SGD):
    """One with modes, as the schedule-free ones have them: for use the parameters are twice what is trained."""

    mode = "none"

    def _scale(self, factor: float) -> None:
        with torch.no_grad():
            for parameter in self.param_groups[0]["params"]:
                parameter.mul_(factor)

    def train(self) -> None:
        if self.mode == "eval":
            self._scale(0.5)
        self.mode = "train"

    def eval(self) -> None:
        if self.mode == "train":
            self._scale(2.0)
        self.mode = "eval"


def test_an_optimizer_with_modes_is_told_of_them() -> None:
    named = parameters()
    optimizer = Modal(named.values(), lr=0.1)
    begin_training(optimizer)
    before = named["a"].detach().clone()
    with evaluated(optimizer):
        assert torch.equal(named["a"], 2 * before)
    assert torch.equal(named["a"], before)
    assert optimizer.mode == "train"
    plain = torch.optim.SGD(named.values(), lr=0.1)
    begin_training(plain)
    with evaluated(plain):
        assert torch.equal(named["a"], before)


@pytest.mark.parametrize("optimizer", ["torch.optim.SGD", "torch.optim.Adafactor"])
def test_a_run_with_any_optimizer_is_resumed_bit_equal(
    optimizer: str, options: Callable[..., TrainOptions], tmp_path: Path
) -> None:
    arguments = ("momentum=0.9",) if optimizer.endswith("SGD") else ()
    asked = options(optimizer=optimizer, optimizer_args=arguments, steps=4)
    whole = train(asked, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(asked, tmp_path / "run", events=StopAfter(2))
    assert train(asked, tmp_path / "run", resume=True).sha256 == whole.sha256
