"""Decomposition of weights: reconstruction, float16 storage, odd weights, and what two calls have in common."""

import pytest
import torch
from torch import Tensor

from atomtune.core.decompose import absolute_penalty, decompose, encode_weight
from atomtune.core.rows import RowLayout

SHAPES = [(24, 16), (13, 7), (16, 8, 1, 1), (16, 8, 3, 3), (16, 2, 3, 3), (8, 6, 1, 3)]


def weight_of(*shape: int, scale: float = 0.02, seed: int = 0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("atoms", [1, 6, 9])
def test_shapes_types_and_norms(shape: tuple[int, ...], atoms: int) -> None:
    part = decompose(weight_of(*shape), atoms, 4, 0.05)
    assert part.layout == RowLayout.of(shape, 4)
    assert part.atoms.shape == (atoms, part.layout.length)
    assert part.atoms.dtype == torch.float32
    assert part.coefficients.shape == (part.layout.count, atoms)
    assert part.coefficients.dtype == torch.float16
    assert torch.equal(part.atoms.half().float(), part.atoms), "D must survive an atoms file exactly"
    torch.testing.assert_close(part.atoms.norm(dim=1), torch.ones(atoms), rtol=0, atol=2e-3)
    assert part.reconstruct().shape == shape


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_coefficients_follow_from_weight_and_atoms_alone(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    weight = weight_of(*shape).to(dtype)
    part = decompose(weight, 6, 4, 0.05)
    torch.manual_seed(5)
    again = decompose(weight.clone(), 6, 4, 0.05)
    assert torch.equal(again.atoms, part.atoms)
    assert torch.equal(again.coefficients, part.coefficients)
    encoded = encode_weight(weight, part.layout, part.atoms.half().float(), part.sparsity)
    assert torch.equal(encoded, part.coefficients)


def test_enough_atoms_without_penalty_reconstruct_to_float16_rounding() -> None:
    weight = weight_of(16, 8, 3, 3)
    part = decompose(weight, 9, 4, 0.0)
    assert part.relative_error(weight) < 1e-3
    assert part.zero_fraction() == 0.0


def test_errors_fall_with_more_atoms_and_zeros_rise_with_the_penalty() -> None:
    weight = weight_of(32, 16, 3, 3)
    errors = [decompose(weight, m, 4, 0.01).relative_error(weight) for m in (1, 3, 6, 9)]
    assert errors == sorted(errors, reverse=True)
    zeros = [decompose(weight, 9, 4, sparsity).zero_fraction() for sparsity in (0.0, 0.1, 0.5, 2.0)]
    assert zeros == sorted(zeros)
    assert zeros[-1] > 0.5


def test_the_penalty_is_relative_to_the_scale_of_the_weight() -> None:
    small, large = weight_of(16, 8, 3, 3), weight_of(16, 8, 3, 3) * 64
    assert absolute_penalty(large, 0.05) == pytest.approx(64 * absolute_penalty(small, 0.05))
    parts = [decompose(w, 6, 4, 0.05) for w in (small, large)]
    assert parts[0].zero_fraction() == pytest.approx(parts[1].zero_fraction(), abs=2e-3)
    assert parts[0].relative_error(small) == pytest.approx(parts[1].relative_error(large), abs=1e-3)


def test_relative_error_and_zero_fraction_are_what_they_say() -> None:
    weight = weight_of(16, 8, 3, 3)
    part = decompose(weight, 4, 4, 0.3)
    product = (part.coefficients.double() @ part.atoms.double()).view(16, 8, 3, 3)
    expected = float((weight.double() - product).norm() / weight.double().norm())
    assert part.relative_error(weight) == pytest.approx(expected, rel=1e-5)
    zeros = sum(1 for value in part.coefficients.flatten().tolist() if value == 0.0)
    assert part.zero_fraction() == zeros / part.coefficients.numel()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_weight_of_zeros(shape: tuple[int, ...]) -> None:
    part = decompose(torch.zeros(shape), 6, 4, 0.05)
    assert part.relative_error(torch.zeros(shape)) == 0.0
    assert part.zero_fraction() == 1.0
    assert torch.equal(part.reconstruct(), torch.zeros(shape))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_constant_weight(shape: tuple[int, ...]) -> None:
    weight = torch.full(shape, 0.25)
    assert decompose(weight, 6, 4, 0.05).relative_error(weight) < 1e-3


def test_a_weight_with_a_single_row() -> None:
    weight = weight_of(1, 1, 3, 3)
    assert decompose(weight, 9, 4, 0.0).relative_error(weight) < 1e-3


def test_decomposing_leaves_the_weight_and_its_graph_alone() -> None:
    weight = torch.nn.Parameter(weight_of(8, 6, 3, 3))
    before = weight.detach().clone()
    part = decompose(weight, 6, 4, 0.05)
    assert torch.equal(weight, before)
    assert not part.atoms.requires_grad
    assert not part.coefficients.requires_grad


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9])
def test_weights_that_cannot_be_coded_are_refused(value: float) -> None:
    weight = weight_of(8, 6, 3, 3)
    weight[2, 1, 0, 0] = value
    with pytest.raises(ValueError, match="not finite"):
        decompose(weight, 6, 4, 0.05)


def test_a_bias_is_no_weight() -> None:
    with pytest.raises(ValueError, match="no filters and no tiles"):
        decompose(torch.zeros(8), 6, 4, 0.05)
