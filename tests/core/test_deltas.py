"""Deltas against the paper's formulas written as loops, their start, and their gradients."""

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from atomtune.core.decompose import Decomposition, decompose
from atomtune.core.deltas import AtomDelta, OvercompleteDelta, RandomMixDelta, WeightDelta, random_mix, starting_mix

FILTERS = {"3x3": (5, 4, 3, 3), "1x3": (4, 3, 1, 3), "grouped": (6, 2, 3, 3)}
TILES = {"linear": (6, 8), "1x1": (8, 6, 1, 1), "prime": (7, 4)}
SHAPES = FILTERS | TILES


class Case(NamedTuple):
    """A kind of delta on a shape of weight."""

    shape: str
    overcomplete: int
    coefficients: bool
    linear: bool = False
    random: bool = False


CASES = [
    Case(shape, m1, train)
    for shape in SHAPES
    for m1 in ((1, 2, 3) if shape in FILTERS else (1,))
    for train in (False, True)
]
CASES += [Case(shape, m1, False, linear=True) for shape in FILTERS for m1 in (1, 2, 3)]
CASES += [
    Case("3x3", 3, train, linear, random=True) for train, linear in ((False, False), (True, False), (False, True))
]


@cache
def base_weight(shape: str) -> Tensor:
    return 0.1 * torch.randn(SHAPES[shape], generator=torch.Generator().manual_seed(3))


@cache
def decomposition(shape: str, atoms: int = 4, sparsity: float = 0.05) -> Decomposition:
    return decompose(base_weight(shape), atoms, 4, sparsity)


def delta_of(case: Case, gain: float = 1.0) -> AtomDelta:
    part = decomposition(case.shape, sparsity=0.0 if case.linear else 0.05)
    if case.overcomplete == 1:
        return AtomDelta(part, train_coefficients=case.coefficients, gain=gain)
    if case.random:
        mix = random_mix(part.layout.shape[1], 4, case.overcomplete, torch.Generator().manual_seed(4))
        return RandomMixDelta(part, mix, train_coefficients=case.coefficients, gain=gain)
    return OvercompleteDelta(part, overcomplete=case.overcomplete, train_coefficients=case.coefficients, gain=gain)


def trained(delta: AtomDelta, seed: int = 0) -> AtomDelta:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in delta.trainable().values():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return delta


def reference(delta: AtomDelta, weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """ΔW by the paper's formulas, number by number in float64, and the leaves it was made from."""
    shape = tuple(weight.shape)
    leaves = {name: p.detach().double().requires_grad_() for name, p in delta.trainable().items()}
    alpha, d = delta.coefficients(weight).double(), delta.atoms.double()
    m = d.shape[0]
    moved = alpha + leaves.get("delta_coefficients", torch.zeros_like(alpha))
    step = delta.gain * leaves["delta_atoms"]
    change = torch.zeros(shape, dtype=torch.float64)
    if isinstance(delta, OvercompleteDelta | RandomMixDelta):
        if isinstance(delta, OvercompleteDelta):
            beta = delta.mixing.double()
            # β₀ sums to 1 exactly in the formulas; its float32 values do so only to rounding
            beta = beta + (1.0 - beta.sum(2, keepdim=True)) / beta.shape[2] + leaves["delta_mixing"]
            d1 = [[d[i] + step[i, j] for j in range(delta.overcomplete)] for i in range(m)]
            own = torch.zeros_like(d)
        else:  # on top of the atoms themselves
            beta, d1, own = leaves["mixing"], [list(step[i]) for i in range(m)], d
        rows = []
        for out in range(shape[0]):
            for c in range(shape[1]):
                n = out * shape[1] + c
                row = torch.zeros_like(d[0])
                for i in range(m):
                    mixed = own[i] + sum(beta[c, i, j] * d1[i][j] for j in range(delta.overcomplete))
                    row = row + moved[n, i] * mixed - alpha[n, i] * d[i]
                rows.append(row.view(shape[2:]))
        return torch.stack(rows).view(shape), leaves
    if delta.layout.tile is None:
        rows = [
            sum(moved[n, i] * (d[i] + step[i]) - alpha[n, i] * d[i] for i in range(m)) for n in range(alpha.shape[0])
        ]
        return torch.stack(rows).view(shape), leaves
    p, q = delta.layout.tile
    grid = (m, shape[0] // p, shape[1] // q)
    for a, b, atom, dd in zip(moved.T.reshape(grid), alpha.T.reshape(grid), d, step, strict=True):
        change = change + (torch.kron(a, (atom + dd).view(p, q)) - torch.kron(b, atom.view(p, q))).view(shape)
    return change, leaves


each_case = pytest.mark.parametrize(
    "case",
    CASES,
    ids=lambda c: "-".join(
        [c.shape, f"m{c.overcomplete}", str(c.coefficients), *["linear"] * c.linear, *["random"] * c.random]
    ),
)


@each_case
def test_the_change_is_exactly_zero_before_training(case: Case) -> None:
    weight = base_weight(case.shape)
    change = delta_of(case).delta_weight(weight)
    assert change.dtype == torch.float32
    assert torch.equal(change, torch.zeros(SHAPES[case.shape]))
    assert torch.equal(weight + change, weight)


@each_case
@pytest.mark.parametrize("gain", [1.0, 0.25])
def test_the_change_and_its_gradients_follow_the_formulas(case: Case, gain: float) -> None:
    delta = trained(delta_of(case, gain))
    shape = SHAPES[case.shape]
    change = delta.delta_weight(base_weight(case.shape))
    expected, leaves = reference(delta, base_weight(case.shape))
    torch.testing.assert_close(change.double(), expected, rtol=1e-4, atol=1e-5)
    direction = torch.randn(shape, generator=torch.Generator().manual_seed(9))
    change.backward(direction)
    expected.backward(direction.double())
    assert set(delta.trainable()) == set(leaves)
    for name, parameter in delta.trainable().items():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad.double(), leaves[name].grad, rtol=1e-4, atol=1e-4)


@each_case
def test_every_parameter_learns_from_the_first_step_or_the_second(case: Case) -> None:
    delta, weight = delta_of(case), base_weight(case.shape)
    target = torch.randn(SHAPES[case.shape], generator=torch.Generator().manual_seed(4))
    optimizer = torch.optim.AdamW(delta.parameters(), lr=1e-3)
    for step in range(2):
        optimizer.zero_grad()
        (weight + delta.delta_weight(weight) - target).square().sum().backward()
        for name, parameter in delta.trainable().items():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            if step > 0 or name != "mixing":  # random mixes of zeros are no change of any size
                assert torch.count_nonzero(parameter.grad) > 0, name
        optimizer.step()
    assert torch.isfinite(delta.delta_weight(weight)).all()


@each_case
def test_training_brings_the_weight_closer_to_a_target(case: Case) -> None:
    delta, weight = delta_of(case), base_weight(case.shape)
    target = weight + trained(delta_of(case), seed=1).delta_weight(weight).detach()
    optimizer = torch.optim.Adam(delta.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (weight + delta.delta_weight(weight) - target).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


@each_case
def test_only_the_deltas_are_trained_and_stored(case: Case) -> None:
    delta = delta_of(case)
    names = {"delta_atoms"}
    if case.overcomplete > 1:
        names.add("mixing" if case.random else "delta_mixing")
    if case.coefficients:
        names.add("delta_coefficients")
    assert set(delta.state_dict()) == set(delta.trainable()) == names
    shape, (m, r) = SHAPES[case.shape], decomposition(case.shape).atoms.shape
    count = m * r * case.overcomplete
    if case.overcomplete > 1:
        count += shape[1] * m * case.overcomplete
    if case.coefficients:
        count += delta.layout.count * m
    assert sum(p.numel() for p in delta.parameters()) == count
    assert all(p.dtype == torch.float32 for p in delta.parameters())


@pytest.mark.parametrize("cast", [torch.nn.Module.half, torch.nn.Module.bfloat16, torch.nn.Module.double])
def test_casting_a_model_leaves_its_deltas_in_float32(cast: Callable[[torch.nn.Module], torch.nn.Module]) -> None:
    delta = trained(delta_of(Case("3x3", 2, True)))
    weight = base_weight("3x3")
    expected = delta.delta_weight(weight)
    cast(torch.nn.Sequential(delta))
    assert {t.dtype for t in [*delta.parameters(), *delta.buffers()]} == {torch.float32}
    assert torch.equal(delta.delta_weight(weight), expected)


def test_a_delta_moves_between_devices() -> None:
    delta = delta_of(Case("3x3", 2, True)).to("meta", torch.float16)
    assert {(t.device.type, t.dtype) for t in [*delta.parameters(), *delta.buffers()]} == {("meta", torch.float32)}


@pytest.mark.parametrize("case", [Case("3x3", 1, False), Case("linear", 1, False)], ids=lambda c: c.shape)
def test_without_the_gain_the_change_is_linear_in_the_atoms(case: Case) -> None:
    delta, weight = trained(delta_of(case)), base_weight(case.shape)
    single = delta.delta_weight(weight).detach()
    with torch.no_grad():
        delta.delta_atoms.mul_(2.0)
    torch.testing.assert_close(delta.delta_weight(weight), 2.0 * single)


@pytest.mark.parametrize("channels", [1, 4, 320])
@pytest.mark.parametrize("m1", [2, 3, 5])
def test_mixing_sums_to_one_and_the_copies_differ(channels: int, m1: int) -> None:
    mix = starting_mix(channels, 6, m1)
    assert mix.shape == (channels, 6, m1)
    torch.testing.assert_close(mix.double().sum(2), torch.ones(channels, 6, dtype=torch.float64), rtol=0, atol=2e-7)
    assert torch.equal(starting_mix(channels, 6, m1), mix)
    spread = (mix - 1.0 / m1).square().mean().sqrt() * m1
    assert spread == pytest.approx(0.5 / math.sqrt(2), rel=0.3)
    if channels > 1:
        assert not torch.allclose(mix[0], mix[1])


@pytest.mark.parametrize("m1", [2, 3])
def test_the_copies_of_an_atom_part_ways(m1: int) -> None:
    delta, weight = delta_of(Case("3x3", m1, False)), base_weight("3x3")
    target = torch.randn(weight.shape, generator=torch.Generator().manual_seed(6))
    (weight + delta.delta_weight(weight) - target).square().sum().backward()
    gradient = delta.delta_atoms.grad
    assert gradient is not None
    for i in range(gradient.shape[0]):
        for j in range(1, m1):
            difference = (gradient[i, j] - gradient[i, 0]).norm() / gradient[i].norm()
            assert difference > 1e-2, (i, j)


def test_overcomplete_is_refused_where_it_means_nothing() -> None:
    with pytest.raises(ValueError, match="not for tiles"):
        OvercompleteDelta(decomposition("linear"), overcomplete=3)
    with pytest.raises(ValueError, match="at least 2"):
        OvercompleteDelta(decomposition("3x3"), overcomplete=1)


def test_the_delta_owns_its_atoms() -> None:
    part = decompose(base_weight("3x3"), 4, 4, 0.05)
    delta = trained(AtomDelta(part))
    expected = delta.delta_weight(base_weight("3x3"))
    part.atoms.zero_()
    part.coefficients.zero_()
    assert torch.equal(delta.delta_weight(base_weight("3x3")), expected)


@pytest.mark.parametrize("part", [("linear", False), ("3x3", True)])
def test_coefficients_are_asked_for_where_they_are_needed(part: tuple[str, bool]) -> None:
    shape, train = part
    with pytest.raises(ValueError, match="need the coefficients themselves"):
        AtomDelta(decomposition(shape, sparsity=0.0), train_coefficients=train)


def test_more_atoms_than_taps_without_coefficients() -> None:
    delta, weight = trained(AtomDelta(decomposition("3x3", 12, 0.0))), base_weight("3x3")
    expected, _ = reference(delta, weight)
    torch.testing.assert_close(delta.delta_weight(weight).double(), expected.detach(), rtol=1e-4, atol=1e-5)


def test_the_base_class_has_no_change_of_its_own() -> None:
    with pytest.raises(NotImplementedError):
        WeightDelta().delta_weight(torch.zeros(2, 2))
