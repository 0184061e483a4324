"""Training's fast ways against plain autograd on every kind of layer: the same but for rounding."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from atomtune import adapt
from atomtune.adapt import attach, detach, set_scale, trainable_parameters
from atomtune.core import thresholds
from atomtune.core.decompose import decompose
from atomtune.core.deltas import AtomDelta, OvercompleteDelta, WeightDelta
from atomtune.core.layout import RowLayout
from atomtune.core.updates import AtomUpdate, MatrixUpdate

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(8, 12), (5, 8)),
    "linear, three dimensions": (lambda: nn.Linear(8, 12), (2, 5, 8)),
    "linear, prime, no bias": (lambda: nn.Linear(7, 13, bias=False), (2, 3, 7)),
    "1x1": (lambda: nn.Conv2d(8, 12, 1), (2, 8, 5, 4)),
    "1x1 strided": (lambda: nn.Conv2d(8, 12, 1, stride=2), (2, 8, 5, 4)),
    "1x1 padded": (lambda: nn.Conv2d(8, 12, 1, padding=1), (2, 8, 5, 4)),
    "1x1 grouped": (lambda: nn.Conv2d(8, 12, 1, groups=4), (2, 8, 5, 4)),
    "3x3": (lambda: nn.Conv2d(6, 8, 3, padding=1), (2, 6, 9, 8)),
    "3x3, one image": (lambda: nn.Conv2d(6, 8, 3, padding=1), (1, 6, 9, 8)),
    "strided": (lambda: nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False), (2, 6, 9, 8)),
    "dilated, same": (lambda: nn.Conv2d(6, 8, 3, dilation=2, padding="same"), (2, 6, 9, 8)),
    "even, same": (lambda: nn.Conv2d(6, 8, 4, padding="same"), (2, 6, 9, 8)),
    "valid": (lambda: nn.Conv2d(6, 8, 3, padding="valid"), (2, 6, 9, 8)),
    "grouped": (lambda: nn.Conv2d(6, 9, 3, groups=3), (2, 6, 9, 8)),
    "depthwise": (lambda: nn.Conv2d(6, 6, 3, padding=1, groups=6), (2, 6, 9, 8)),
    "1x3": (lambda: nn.Conv2d(6, 8, (1, 3), padding=(0, 1)), (2, 6, 9, 8)),
    "unlike sides": (lambda: nn.Conv2d(6, 8, (3, 2), stride=(1, 2), padding=(2, 0), dilation=(2, 1)), (2, 6, 9, 8)),
    "reflect": (lambda: nn.Conv2d(6, 8, 3, padding=1, padding_mode="reflect"), (2, 6, 9, 8)),
    "circular": (lambda: nn.Conv2d(6, 8, 3, padding=(1, 2), padding_mode="circular"), (2, 6, 9, 8)),
    "replicate": (lambda: nn.Conv2d(6, 8, 3, padding=1, padding_mode="replicate"), (2, 6, 9, 8)),
    "not batched": (lambda: nn.Conv2d(6, 8, 3, padding=1), (6, 9, 8)),
}
WAYS = {
    "recorded": (-1, -1),
    "dense": (0, 0),
    "mixed back": (0, 10**9),
    "mixed": (10**9, 10**9),
    "mixed forward": (10**9, 0),
}
PRESETS = {
    "C1": (6, 4, 1, False, 0.05),
    "C2": (9, 4, 1, False, 0.05),
    "C3": (9, 4, 3, False, 0.05),
    "C4": (9, 4, 3, True, 0.05),
    "C1 without λ": (6, 4, 1, False, 0.0),
    "C2 without λ": (9, 4, 1, False, 0.0),
    "C3 without λ": (9, 4, 3, False, 0.0),
    "C4 without λ": (9, 4, 3, True, 0.0),
    "complete": (0, 4, 1, False, 0.0),
}
each_layer = pytest.mark.parametrize("kind", LAYERS)
each_way = pytest.mark.parametrize("way", WAYS)
each_preset = pytest.mark.parametrize("preset", PRESETS)


class Case:
    """A layer with a delta as if it had been trained, an input, and a direction for the gradient."""

    def __init__(self, kind: str, preset: str, dtype: torch.dtype = torch.float32) -> None:
        make, shape = LAYERS[kind]
        torch.manual_seed(0)
        self.model = nn.Sequential(make()).to(dtype).requires_grad_(False)
        atoms, tile, m1, trains, sparsity = PRESETS[preset]
        weight = self.model[0].weight
        part = decompose(weight, atoms or RowLayout.of(weight.shape, tile).length, tile, sparsity)
        if atoms and (trains or not part.layout.is_filter):
            part = replace(part, coefficients=part.coded(weight))
        if m1 > 1 and part.layout.is_filter:
            delta: AtomDelta = OvercompleteDelta(part, overcomplete=m1, train_coefficients=trains, gain=0.7)
        else:
            delta = AtomDelta(part, train_coefficients=trains, gain=0.7)
        with torch.no_grad():
            for parameter in delta.parameters():
                parameter.normal_(std=0.2)
        attach(self.model, {"0": delta})
        self.x = torch.randn(shape).to(dtype).requires_grad_()
        self.direction = torch.randn(self.model[0].original(self.x).shape)

    def results(self, output: Tensor) -> dict[str, Tensor]:
        """The output and every gradient of a pass."""
        wanted = {"x": self.x, **trainable_parameters(self.model)}
        if self.model[0].bias is not None and self.model[0].bias.requires_grad:
            wanted["bias"] = self.model[0].bias
        found = torch.autograd.grad((output.float() * self.direction).sum(), list(wanted.values()))
        return {"output": output, **dict(zip(wanted, found, strict=True))}

    def plain(self) -> dict[str, Tensor]:
        """By autograd alone, from the adapted weight."""
        layer = self.model[0]
        weight = layer.adapted_weight()
        if isinstance(layer, nn.Linear):
            return self.results(F.linear(self.x, weight, layer.bias))
        return self.results(layer._conv_forward(self.x, weight, layer.bias))


def take(way: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, bool]]:
    """Have every size go this way; the list fills with what was chosen."""
    monkeypatch.setattr(thresholds, "SMALL_WEIGHT", 10**9 if way == "recorded" else 0)
    for name in ("ATOMS", "ATOMS_WIDE", "MATRIX"):
        monkeypatch.setattr(thresholds, name, {"cpu": WAYS[way]})
    monkeypatch.setattr(thresholds, "MATRIX_BY_CHANNEL", (10**9, 10**9))
    chosen: list[tuple[bool, bool]] = []
    for form in (AtomUpdate, MatrixUpdate):
        ways = form.needs_no_weight

        def noted(*arguments: Any, ways: Any = ways) -> tuple[bool, bool]:
            chosen.append(ways(*arguments))
            return chosen[-1]

        monkeypatch.setattr(form, "needs_no_weight", noted)
    return chosen


def agree(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        difference = (found[name].double() - value.double()).norm() / value.double().norm()
        assert difference < tolerance, (name, difference.item())


@each_layer
@each_preset
@each_way
def test_output_and_gradients_are_those_of_autograd(
    kind: str, preset: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(kind, preset)
    expected = case.plain()
    chosen = take(way, monkeypatch)
    agree(case.results(case.model(case.x)), expected, 2e-6)
    if kind == "not batched" or way == "recorded":
        assert not chosen
        return
    tiles = case.model[0].deltas["default"].layout.tile is not None
    can_mix = (
        not preset.startswith("C4")
        and not (preset == "complete" and tiles)
        and kind not in ("1x1 grouped", "grouped", "depthwise")
    )
    most_forward, most_backward = WAYS[way]
    assert chosen == [(can_mix and most_forward > 0, can_mix and most_backward > 0)]


@pytest.mark.parametrize(
    ("preset", "by_channel", "expected"),
    [
        ("C2 without λ", (0, 0), (True, True)),
        ("C3 without λ", (9, 18), (True, True)),
        ("C3 without λ", (8, 9), (False, True)),
        ("C3 without λ", (8, 8), (False, False)),
    ],
)
def test_matrices_of_channels_count_by_output_channel(
    preset: str, by_channel: tuple[int, int], expected: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case("3x3, one image", preset)  # 72 positions, 8 output channels
    chosen = take("mixed", monkeypatch)
    monkeypatch.setattr(thresholds, "MATRIX_BY_CHANNEL", by_channel)
    agree(case.results(case.model(case.x)), case.plain(), 2e-6)
    assert chosen[0] == expected


@pytest.mark.parametrize("kind", ["linear", "1x1", "3x3", "strided", "reflect", "grouped"])
@pytest.mark.parametrize("preset", ["C2", "C4", "C3 without λ"])
@each_way
def test_a_scale_counts(kind: str, preset: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(kind, preset)
    set_scale(case.model, 0.3)
    expected = case.plain()
    take(way, monkeypatch)
    agree(case.results(case.model(case.x)), expected, 2e-6)


@pytest.mark.parametrize("kind", ["linear", "1x1", "3x3", "strided", "valid"])
@pytest.mark.parametrize("preset", ["C2", "C2 without λ", "C3 without λ"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=lambda d: str(d)[6:])
@each_way
def test_in_half_precision_it_is_no_further_from_the_truth_than_autograd(
    kind: str, preset: str, dtype: torch.dtype, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, exact = Case(kind, preset, dtype), Case(kind, preset)
    with torch.no_grad():  # the same numbers, in float32
        exact.model[0].weight.copy_(case.model[0].weight)
        exact.x.copy_(case.x)
        for one, other in zip(exact.model.parameters(), case.model.parameters(), strict=True):
            one.copy_(other)
        for one, other in zip(exact.model.buffers(), case.model.buffers(), strict=True):
            one.copy_(other)
        exact.direction.copy_(case.direction)
    truth, autograd = exact.plain(), case.plain()
    take(way, monkeypatch)
    found = case.results(case.model(case.x))
    for name, value in truth.items():
        norm = value.norm()
        assert (found[name].float() - value).norm() / norm < 2 * (autograd[name].float() - value).norm() / norm + 1e-3


@pytest.mark.parametrize("kind", ["linear", "3x3"])
@pytest.mark.parametrize("preset", ["C2", "C3", "C4", "C2 without λ", "C3 without λ"])
@each_way
def test_autocast_rounds_no_more_than_it_does_for_autograd(
    kind: str, preset: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(kind, preset)
    truth = case.plain()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autograd = case.plain()
    take(way, monkeypatch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = case.model(case.x)
        assert output.dtype == torch.bfloat16
        inside = case.results(output)  # the way back within autocast as well
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = case.model(case.x)
    for found in (inside, case.results(output)):
        for name, value in truth.items():
            assert found[name].dtype == (torch.bfloat16 if name == "output" else torch.float32)
            allowed = 2 * (autograd[name].float() - value).norm() / value.norm() + 1e-3
            assert (found[name].float() - value).norm() / value.norm() < allowed, name


@each_layer
@pytest.mark.parametrize("preset", ["C2", "C2 without λ"])
@each_way
def test_checkpointing_and_a_second_use_add_up(
    kind: str, preset: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(kind, preset)
    take(way, monkeypatch)
    once = case.results(case.model(case.x))
    again = case.results(checkpoint(case.model, case.x, use_reentrant=False))
    assert all(torch.equal(again[name], value) for name, value in once.items())
    twice = case.results(case.model(case.x) + case.model(case.x))
    agree({name: value / 2 for name, value in twice.items()}, once, 1e-6)


@pytest.mark.parametrize("kind", ["linear", "1x1", "3x3", "grouped"])
@pytest.mark.parametrize("preset", ["C2", "C2 without λ"])
@each_way
def test_a_bias_that_trains_gets_its_gradient(
    kind: str, preset: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(kind, preset)
    case.model[0].bias.requires_grad_()
    expected = case.plain()
    assert "bias" in expected
    take(way, monkeypatch)
    agree(case.results(case.model(case.x)), expected, 2e-6)


@pytest.mark.parametrize("preset", ["C2", "C2 without λ"])
@each_way
def test_an_input_without_gradient(preset: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("3x3", preset)
    expected = case.plain()
    take(way, monkeypatch)
    case.model(case.x.detach()).backward(case.direction)
    found = {name: parameter.grad for name, parameter in trainable_parameters(case.model).items()}
    agree(found, {name: expected[name] for name in found}, 2e-6)


class OtherDelta(WeightDelta):
    """A change that is no product with coefficients."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.change = nn.Parameter(0.1 * torch.ones_like(weight))

    def delta_weight(self, weight: Tensor) -> Tensor:
        return self.change * weight


def test_plain_autograd_takes_what_the_fast_ways_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("3x3", "C2")
    layer = case.model[0]
    assert layer.update() is not None
    with torch.no_grad():
        assert layer.update() is None, "what is generated must be what will be merged"
    with adapt.cached_weights(case.model):
        assert layer.update() is None
    set_scale(case.model, 0.0)
    assert layer.update() is None
    set_scale(case.model, 1.0)
    layer.weight.requires_grad_()
    assert layer.update() is None
    assert case.model(case.x).grad_fn is not None
    layer.weight.requires_grad_(False)
    second = copy.deepcopy(layer.deltas["default"])
    attach(case.model, {"0": second}, "second")
    assert layer.update() is None
    expected = case.model(case.x)
    set_scale(case.model, 0.0, "second")
    assert layer.update() is not None
    set_scale(case.model, 1.0, "second")
    assert torch.equal(case.model(case.x), expected)
    detach(case.model)
    attach(case.model, {"0": OtherDelta(layer.weight)})
    assert case.model[0].update() is None
    assert case.results(case.model(case.x))["0.change"].abs().sum() > 0


@each_way
def test_neither_the_weight_nor_its_gradient_is_kept(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("3x3", "C2")
    take(way, monkeypatch)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(t.untyped_storage().data_ptr()) or t, lambda t: t
    ):
        output = case.model(case.x)
    known = {t.untyped_storage().data_ptr() for t in (case.x, *case.model.parameters(), *case.model.buffers())}
    new = [pointer for pointer in kept if pointer not in known]
    assert way == "recorded" or len(new) <= 1, "besides what is there anyway, the changed atoms alone"
    output.sum().backward()
