"""One contract for every delta on every kind of layer: attach, scale, swap, merge, detach."""

import copy
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from atomtune.adapt import adapted_layers, attach, cached_weights, detach, set_scale, swap, trainable_parameters
from atomtune.core.decompose import Decomposition, decompose
from atomtune.core.deltas import AtomDelta, OvercompleteDelta
from made import merge

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(8, 12),
    "linear, prime, no bias": lambda: nn.Linear(7, 13, bias=False),
    "1x1": lambda: nn.Conv2d(8, 12, 1),
    "1x1 grouped": lambda: nn.Conv2d(8, 12, 1, groups=4),
    "3x3": lambda: nn.Conv2d(6, 8, 3, padding=1),
    "strided": lambda: nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False),
    "dilated": lambda: nn.Conv2d(6, 8, 3, dilation=2, padding="same"),
    "grouped": lambda: nn.Conv2d(6, 9, 3, groups=3),
    "1x3": lambda: nn.Conv2d(6, 8, (1, 3), padding=(0, 1)),
    "reflect": lambda: nn.Conv2d(6, 8, 3, padding=1, padding_mode="reflect"),
}
FILTERS = ("3x3", "strided", "dilated", "grouped", "1x3", "reflect")
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
CASES = [
    (layer, m1, train)
    for layer in LAYERS
    for m1, train in ((1, False), (1, True), (3, False), (3, True))
    if m1 == 1 or layer in FILTERS
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-m{c[1]}{'-coefficients' if c[2] else ''}")
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
Case = tuple[str, int, bool]


def model_of(case: Case, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(layer=LAYERS[case[0]](), after=nn.SiLU())).to(dtype)


def input_of(case: Case, dtype: torch.dtype = torch.float32) -> Tensor:
    layer = LAYERS[case[0]]()
    generator = torch.Generator().manual_seed(1)
    shape = (5, layer.in_features) if isinstance(layer, nn.Linear) else (2, layer.in_channels, 9, 8)
    return torch.randn(shape, generator=generator).to(dtype)


@cache
def decomposition(layer: str, dtype: torch.dtype) -> Decomposition:
    return decompose(model_of((layer, 1, False), dtype).layer.weight, 5, 4, 0.05)


def delta_of(case: Case, dtype: torch.dtype = torch.float32, seed: int | None = None) -> AtomDelta:
    """A delta for the layer; with a seed, as if it had been trained."""
    name, m1, train = case
    part = decomposition(name, dtype)
    kind = OvercompleteDelta(part, overcomplete=m1, train_coefficients=train) if m1 > 1 else None
    delta = kind or AtomDelta(part, train_coefficients=train)
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in delta.parameters():
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return delta


def gradients(model: nn.Module, output: Tensor) -> dict[str, Tensor]:
    output.float().square().sum().backward()
    return {name: p.grad for name, p in trainable_parameters(model).items() if p.grad is not None}


@each_case
@each_dtype
def test_the_base_model_at_step_zero_and_after_detach(case: Case, dtype: torch.dtype) -> None:
    model, x = model_of(case, dtype), input_of(case, dtype)
    layer, weight, keys = model.layer, model.layer.weight, set(model.state_dict())
    bits, expected = weight.detach().clone(), model(x)
    attach(model, {"layer": delta_of(case, dtype)})
    assert isinstance(model.layer, type(layer))
    assert torch.equal(model(x), expected)
    assert model.layer.weight is weight
    assert keys <= set(model.state_dict())
    assert {key for key in model.state_dict() if key not in keys} == {
        f"layer.deltas.default.{name}" for name in model.layer.deltas["default"].trainable()
    }
    detach(model)
    attach(model, {"layer": delta_of(case, dtype, seed=2)})
    assert not torch.equal(model(x), expected)
    detach(model)
    assert model.layer is layer
    assert model.layer.weight is weight
    assert torch.equal(weight, bits)
    assert torch.equal(model(x), expected)
    assert set(model.state_dict()) == keys
    assert not list(layer.children())


@each_case
@each_dtype
def test_merged_equals_attached(case: Case, dtype: torch.dtype) -> None:
    model, x = model_of(case, dtype), input_of(case, dtype)
    layer, before = model.layer, model.layer.weight.detach().clone()
    delta = delta_of(case, dtype, seed=2)
    attach(model, {"layer": delta})
    with torch.no_grad():  # as images are drawn; training may round in another order
        attached = model(x)
    merge(model)
    assert model.layer is layer
    assert model.layer.weight.dtype == dtype
    assert torch.equal(model(x), attached)
    # the sum is taken in float32 and rounded once
    assert torch.equal(layer.weight, (before.float() + delta.delta_weight(before)).to(dtype))


@each_case
@each_dtype
def test_scales(case: Case, dtype: torch.dtype) -> None:
    model, x = model_of(case, dtype), input_of(case, dtype)
    base, weight, delta = model(x), model.layer.weight, delta_of(case, dtype, seed=2)
    attach(model, {"layer": delta})
    full = model(x)
    set_scale(model, 0.5)
    half = (weight.float() + 0.5 * delta.delta_weight(weight)).to(dtype)
    assert torch.equal(model.layer.adapted_weight(), half)
    set_scale(model, 0)
    assert torch.equal(model(x), base)
    set_scale(model, 1)
    assert torch.equal(model(x), full)


@each_case
def test_gradients_reach_the_deltas_only_and_checkpointing_keeps_them(case: Case) -> None:
    model, x = model_of(case), input_of(case)
    model.requires_grad_(False)
    attach(model, {"layer": delta_of(case, seed=2)})
    plain_output = model(x)
    plain = gradients(model, plain_output)
    assert set(plain) == set(trainable_parameters(model))
    assert all(torch.isfinite(g).all() and torch.count_nonzero(g) for g in plain.values())
    assert model.layer.weight.grad is None
    model.zero_grad()
    output = checkpoint(model, x, use_reentrant=False)
    assert torch.equal(output, plain_output)
    for name, gradient in gradients(model, output).items():
        assert torch.equal(gradient, plain[name]), name


@each_case
def test_one_convolution_or_product_a_layer(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    class Count(TorchDispatchMode):
        convolutions = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.convolutions += func is torch.ops.aten.convolution.default
            return func(*args, **(kwargs or {}))

    products = []
    linear = nn.functional.linear
    monkeypatch.setattr(nn.functional, "linear", lambda *args: products.append(1) or linear(*args))
    model, x = model_of(case), input_of(case)
    attach(model, {"layer": delta_of(case, seed=2)})
    attach(model, {"layer": delta_of(case, seed=3)}, "second")
    with Count() as count:
        model(x)
    assert count.convolutions + len(products) == 1


@each_case
def test_a_deep_copy_lives_by_itself(case: Case) -> None:
    model, x = model_of(case), input_of(case)
    base = model(x)
    attach(model, {"layer": delta_of(case, seed=2)})
    expected = model(x)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(x), expected)
    with torch.no_grad():
        twin.layer.weight.zero_()
        for parameter in trainable_parameters(twin).values():
            parameter.zero_()
    assert torch.equal(model(x), expected)
    detach(twin)
    assert type(twin.layer) in (nn.Conv2d, nn.Linear)
    assert torch.count_nonzero(twin.layer.weight) == 0
    detach(model)
    assert torch.equal(model(x), base)


@each_case
def test_a_state_dict_goes_round(case: Case) -> None:
    model, other, x = model_of(case), model_of(case), input_of(case)
    attach(model, {"layer": delta_of(case, seed=2)})
    attach(other, {"layer": delta_of(case)})
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model(x))


@each_case
def test_two_deltas_add_up_and_leave_one_by_one(case: Case) -> None:
    model, x = model_of(case), input_of(case)
    layer, weight, base = model.layer, model.layer.weight, model(x)
    first, second = delta_of(case, seed=2), delta_of(case, seed=3)
    attach(model, {"layer": first}, "a")
    alone = model(x)
    attach(model, {"layer": second}, "b")
    set_scale(model, 0.5, "b")
    expected = weight + first.delta_weight(weight) + 0.5 * second.delta_weight(weight)
    torch.testing.assert_close(model.layer.adapted_weight(), expected, rtol=0, atol=1e-6)
    assert set(trainable_parameters(model, "b")) == {f"layer.{name}" for name in second.trainable()}
    detach(model, "b")
    assert torch.equal(model(x), alone)
    detach(model, "a")
    assert model.layer is layer
    assert torch.equal(model(x), base)


@each_case
def test_swap(case: Case) -> None:
    model, x = model_of(case), input_of(case)
    attach(model, {"layer": delta_of(case, seed=3)})
    expected = model(x)
    detach(model)
    attach(model, {"layer": delta_of(case, seed=2)})
    set_scale(model, 0.3)
    swap(model, {"layer": delta_of(case, seed=3)})
    assert torch.equal(model(x), expected)
    swap(model, {})
    assert not adapted_layers(model)


@pytest.mark.parametrize("case", [("linear", 1, False), ("3x3", 3, True)], ids=lambda c: c[0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=lambda d: str(d)[6:])
def test_autocast_does_not_round_the_change(case: Case, dtype: torch.dtype) -> None:
    model, x = model_of(case), input_of(case)
    attach(model, {"layer": delta_of(case, seed=2)})
    expected = model.layer.adapted_weight()
    with torch.autocast("cpu", dtype=dtype):
        found = model.layer.adapted_weight()
        output = model(x)
    assert torch.equal(found, expected)
    assert output.dtype == dtype
    assert all(g.dtype == torch.float32 for g in gradients(model, output).values())


@each_case
@each_dtype
def test_cached_weights_are_the_adapted_ones(case: Case, dtype: torch.dtype) -> None:
    model, x = model_of(case, dtype), input_of(case, dtype)
    bits = model.layer.weight.detach().clone()
    attach(model, {"layer": delta_of(case, dtype, seed=2)})
    expected = model(x)
    with cached_weights(model):
        set_scale(model, 0.0)
        assert torch.equal(model(x), expected), "what changes meanwhile must not show"
    assert not torch.equal(model(x), expected)
    set_scale(model, 1.0)
    assert torch.equal(model(x), expected)
    assert torch.equal(model.layer.weight, bits)
