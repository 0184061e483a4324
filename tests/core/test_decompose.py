"""Decomposition of weights: reconstruction, float16 storage, odd weights, and what two calls have in common."""

import math

import pytest
import torch
from torch import Tensor

from atomtune.core.decompose import Decomposition, absolute_penalty, decompose, encode_weight
from atomtune.core.layout import RowLayout
from atomtune.core.sparse_coding import Coder, chunk_numbers, linear_map

SHAPES = [(24, 16), (13, 7), (16, 8, 1, 1), (16, 8, 3, 3), (16, 2, 3, 3), (8, 6, 1, 3)]


def weight_of(*shape: int, scale: float = 0.02, seed: int = 0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def zero_fraction(part: Decomposition) -> float:
    assert part.coefficients is not None
    return float((part.coefficients == 0).float().mean())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("atoms", [1, 6, 9])
def test_shapes_types_and_norms(shape: tuple[int, ...], atoms: int) -> None:
    weight = weight_of(*shape)
    part = decompose(weight, atoms, 4, 0.05)
    assert part.layout == RowLayout.of(shape, 4)
    assert part.atoms.shape == (atoms, part.layout.length)
    assert part.atoms.dtype == torch.float32
    assert part.coefficients.shape == (part.layout.count, atoms)
    assert part.coefficients.dtype == torch.float16
    assert torch.equal(part.atoms.half().float(), part.atoms), "D must survive an atoms file exactly"
    torch.testing.assert_close(part.atoms.norm(dim=1), torch.ones(atoms), rtol=0, atol=2e-3)
    assert part.reconstruct(weight).shape == shape


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
    assert int((part.coded(weight) == 0).sum()) == 0


def test_errors_fall_with_more_atoms_and_zeros_rise_with_the_penalty() -> None:
    weight = weight_of(32, 16, 3, 3)
    errors = [decompose(weight, m, 4, 0.01).relative_error(weight) for m in (1, 3, 6, 9)]
    assert errors == sorted(errors, reverse=True)
    zeros = [zero_fraction(decompose(weight, 9, 4, sparsity)) for sparsity in (0.01, 0.1, 0.5, 2.0)]
    assert zeros == sorted(zeros)
    assert zeros[-1] > 0.5


def test_the_penalty_is_relative_to_the_scale_of_the_weight() -> None:
    small, large = weight_of(16, 8, 3, 3), weight_of(16, 8, 3, 3) * 64
    assert absolute_penalty(large, 0.05) == pytest.approx(64 * absolute_penalty(small, 0.05))
    parts = [decompose(w, 6, 4, 0.05) for w in (small, large)]
    assert zero_fraction(parts[0]) == pytest.approx(zero_fraction(parts[1]), abs=2e-3)
    assert parts[0].relative_error(small) == pytest.approx(parts[1].relative_error(large), abs=1e-3)


def test_relative_error_and_zero_fraction_are_what_they_say() -> None:
    weight = weight_of(16, 8, 3, 3)
    part = decompose(weight, 4, 4, 0.3)
    product = (part.coefficients.double() @ part.atoms.double()).view(16, 8, 3, 3)
    expected = float((weight.double() - product).norm() / weight.double().norm())
    assert part.relative_error(weight) == pytest.approx(expected, rel=1e-5)
    zeros = sum(1 for value in part.coefficients.flatten().tolist() if value == 0.0)
    assert zero_fraction(part) == zeros / part.coefficients.numel()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_weight_of_zeros(shape: tuple[int, ...]) -> None:
    part = decompose(torch.zeros(shape), 6, 4, 0.05)
    assert part.relative_error(torch.zeros(shape)) == 0.0
    assert zero_fraction(part) == 1.0
    assert torch.equal(part.reconstruct(torch.zeros(shape)), torch.zeros(shape))


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


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64], ids=str)
def test_coefficients_are_those_of_the_rows(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    weight = weight_of(*shape).to(dtype)
    part = decompose(weight, 4, 4, 0.05)
    rows = part.layout.to_rows(weight).float()
    plain = Coder(part.atoms, absolute_penalty(weight, 0.05)).codes(rows.T).T
    torch.testing.assert_close(part.coefficients.float(), plain.half().float(), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("shape", [(130, 512, 3, 3), (1024, 1100)], ids=str)
def test_a_weight_too_large_for_one_piece_is_coded_as_its_rows_are(shape: tuple[int, ...]) -> None:
    weight = weight_of(*shape)
    layout = RowLayout.of(shape, 4)
    assert len(list(layout.pieces(chunk_numbers(weight.device)))) > 1
    atoms = decompose(weight, 6, 4, 0.0).atoms
    found = encode_weight(weight, layout, atoms, 0.05)
    plain = Coder(atoms, absolute_penalty(weight, 0.05)).codes(layout.to_rows(weight).T).T
    torch.testing.assert_close(found.float(), plain.half().float(), rtol=1e-3, atol=1e-6)


def test_a_weight_in_another_memory_format() -> None:
    weight = weight_of(16, 8, 3, 3)
    part, other = decompose(weight, 6, 4, 0.05), decompose(weight.to(memory_format=torch.channels_last), 6, 4, 0.05)
    assert torch.equal(part.atoms, other.atoms)
    assert torch.equal(part.coefficients, other.coefficients)


def model_weights() -> dict[str, Tensor]:
    return {f"layer.{i}": weight_of(*shape, seed=i) for i, shape in enumerate([*SHAPES, (16, 8, 3, 3), (32, 8)])}


def same(one: Decomposition, other: Decomposition) -> bool:
    if not (one.layout == other.layout and torch.equal(one.atoms, other.atoms)):
        return False
    if one.coefficients is None or other.coefficients is None:
        return one.coefficients is other.coefficients
    return torch.equal(one.coefficients, other.coefficients)


@pytest.mark.parametrize("sparsity", [0.0, 0.05])
@pytest.mark.parametrize("measure", [False, True])
def test_a_weight_gets_the_same_atoms_whatever_is_decomposed_before_it(sparsity: float, measure: bool) -> None:
    weights = list(model_weights().values())
    alone = [decompose(weight, 6, 4, sparsity) for weight in weights]
    backwards = [decompose(weight, 6, 4, sparsity, measure=measure) for weight in reversed(weights)]
    assert all(same(one, other) for one, other in zip(alone, reversed(backwards), strict=True))
    copies = [decompose(weight.clone(memory_format=torch.contiguous_format), 6, 4, sparsity) for weight in weights]
    assert all(same(one, other) for one, other in zip(alone, copies, strict=True))


@pytest.mark.parametrize(("atoms", "shape"), [(9, (64, 64, 3, 3)), (9, (512, 256)), (6, (96, 96, 1, 1))])
def test_nearly_equal_eigenvalues_do_not_turn_the_atoms(atoms: int, shape: tuple[int, ...]) -> None:
    """Of white noise all directions are nearly alike; the rounding of sums in another order must not show."""
    weight = weight_of(*shape)
    found = decompose(weight, atoms, 16, 0.0).atoms
    blocks = torch.arange(shape[0]).view(-1, 16)  # tiles stay whole
    order = blocks[torch.randperm(len(blocks), generator=torch.Generator().manual_seed(1))].flatten()
    moved = decompose(weight[order], atoms, 16, 0.0).atoms
    # float16 rounds them: a unit in the last place of a number that lies between two
    assert float((moved - found).abs().max()) < 1e-3
    assert float((moved != found).float().mean()) < 0.01


def test_whoever_holds_one_layer_holds_no_memory_of_others() -> None:
    part = decompose(weight_of(16, 8, 3, 3), 6, 4, 0.05)
    assert part.atoms.untyped_storage().nbytes() == 4 * part.atoms.numel()
    assert part.coefficients.untyped_storage().nbytes() == 2 * part.coefficients.numel()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_fit_is_that_of_the_stored_coefficients(dtype: torch.dtype) -> None:
    for weight in model_weights().values():
        part = decompose(weight.to(dtype), 6, 4, 0.2, measure=True)
        fit, wide = part.fit, weight.to(dtype).double()
        assert fit is not None
        product = part.layout.to_weight(part.coefficients.double() @ part.atoms.double())
        assert fit.energy == pytest.approx(float(wide.square().sum()), rel=1e-5)
        assert fit.residual == pytest.approx(float((wide - product).square().sum()), rel=1e-4)
        assert fit.zeros == int((part.coefficients == 0).sum())


def test_a_fit_of_next_to_nothing_is_not_lost_in_rounding() -> None:
    weight = weight_of(16, 8, 3, 3)
    part = decompose(weight, 9, 4, 0.0, measure=True)
    assert part.coefficients is None
    assert part.fit is not None
    assert (part.fit.residual / part.fit.energy) ** 0.5 == pytest.approx(part.relative_error(weight), rel=1e-2)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9])
def test_weights_that_cannot_be_coded_over_given_atoms_are_refused(value: float) -> None:
    weight = weight_of(8, 6, 3, 3)
    part = decompose(weight, 6, 4, 0.05)
    weight[2, 1, 0, 0] = value
    with pytest.raises(ValueError, match="not finite"):
        encode_weight(weight, part.layout, part.atoms, 0.05)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("atoms", [1, 6, 9, 12])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_without_a_penalty_the_coefficients_are_one_product(
    shape: tuple[int, ...], atoms: int, dtype: torch.dtype
) -> None:
    """α = X·D⁺, the least squares of the rows, which are nowhere held; one of many where atoms are more than taps."""
    weight = weight_of(*shape).to(dtype)
    part = decompose(weight, atoms, 4, 0.0)
    assert part.coefficients is None
    assert torch.equal(part.atoms, part.atoms.half().float())
    rows, found = part.layout.to_rows(weight).double(), part.coded(weight)
    assert (found.shape, found.dtype) == ((part.layout.count, atoms), torch.float16)
    torch.testing.assert_close((rows @ linear_map(part.atoms).double()).half(), found, rtol=2e-3, atol=1e-6)
    if atoms <= part.layout.length:
        torch.testing.assert_close(linear_map(part.atoms), torch.linalg.pinv(part.atoms), rtol=0, atol=2e-5)
    best = rows @ torch.linalg.pinv(part.atoms.double()) @ part.atoms.double()
    error = float((rows - best).norm() / rows.norm())
    assert part.relative_error(weight) == pytest.approx(error, abs=2e-3)


def test_without_a_penalty_the_atoms_are_the_principal_directions() -> None:
    weight = weight_of(32, 16, 3, 3) * torch.linspace(0.2, 3.0, 9).view(3, 3)
    rows = RowLayout.of(weight.shape, 4).to_rows(weight).double()
    values = torch.linalg.svdvals(rows).square()
    for atoms in (1, 3, 6):
        expected = math.sqrt(float(values[atoms:].sum() / values.sum()))
        assert decompose(weight, atoms, 4, 0.0).relative_error(weight) == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_dependent_atoms_have_coefficients_too(value: float) -> None:
    """As a file that was tampered with may hold them: nothing blows up."""
    weight = weight_of(8, 6, 3, 3)
    found = linear_map(torch.full((4, 9), value))
    assert torch.isfinite(found).all()
    assert float(found.abs().max()) <= 1.0
    part = Decomposition(RowLayout.of(weight.shape, 4), torch.full((4, 9), value), None, 0.0)
    assert torch.isfinite(part.reconstruct(weight)).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_reach_is_the_norm_of_a_row_of_coefficients(shape: tuple[int, ...]) -> None:
    weight = weight_of(*shape)
    for sparsity in (0.0, 0.05):
        part = decompose(weight, 6, 4, sparsity)
        rows = part.coded(weight).double()
        assert part.reach(weight) == pytest.approx(float(rows.square().sum(1).mean().sqrt()), rel=2e-3)


@pytest.mark.gpu
def test_a_gpu_gives_what_a_cpu_gives() -> None:
    for weight in model_weights().values():
        expected = decompose(weight, 6, 4, 0.05)
        for held in (weight, weight.cuda()):
            part = decompose(held, 6, 4, 0.05, device=torch.device("cuda"), measure=True)
            assert part.coefficients.device == part.atoms.device == held.device
            assert part.relative_error(held) == pytest.approx(expected.relative_error(weight), rel=1e-2)
            again = encode_weight(weight, part.layout, part.atoms.cpu(), 0.05).float()
            torch.testing.assert_close(part.coefficients.cpu().float(), again, rtol=2e-3, atol=1e-6)
