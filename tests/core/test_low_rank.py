"""The nearest matrix of a rank, held against the whole singular value decomposition."""

import pytest
import torch
from torch import Tensor

from atomtune.core.low_rank import low_rank, weighted_low_rank


def spectrum(shape: tuple[int, int], values: Tensor) -> Tensor:
    """A matrix with these singular values."""
    generator = torch.Generator().manual_seed(3)
    rows, columns = (
        torch.linalg.qr(torch.randn(side, len(values), generator=generator, dtype=torch.float64))[0] for side in shape
    )
    return (rows * values @ columns.T).float()


def error(matrix: Tensor, rank: int) -> float:
    up, down = low_rank(matrix, rank)
    return float(torch.linalg.vector_norm(matrix.double() - up.double() @ down.double()))


@pytest.mark.parametrize("shape", [(24, 60), (60, 24), (30, 30), (1, 9), (40, 1)])
@pytest.mark.parametrize("rank", [1, 4, 16])
def test_no_matrix_of_this_rank_is_nearer(shape: tuple[int, int], rank: int) -> None:
    """The error is the norm of the singular values left out, which is the least there can be."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 1e-4
    left_out = torch.linalg.svdvals(matrix.double())[rank:]
    least = float(torch.linalg.vector_norm(left_out)) if len(left_out) else 0.0
    assert error(matrix, rank) == pytest.approx(least, rel=1e-6, abs=1e-6 * float(matrix.norm()))
    up, down = low_rank(matrix, rank)
    kept = min(rank, *shape)
    assert (up.shape, down.shape) == ((shape[0], kept), (kept, shape[1]))
    assert (up.dtype, down.dtype) == (torch.float32, torch.float32)


def test_singular_values_that_hardly_fall_are_told_apart() -> None:
    values = torch.linspace(1.01, 1.0, 40, dtype=torch.float64)
    matrix = spectrum((50, 80), values)
    assert error(matrix, 8) == pytest.approx(float(torch.linalg.vector_norm(values[8:])), rel=1e-6)


def test_a_matrix_of_this_rank_comes_out_whole() -> None:
    """Over six orders of magnitude of the singular values."""
    values = torch.logspace(0, -6, 8, dtype=torch.float64)
    assert error(spectrum((50, 80), values), 8) < 1e-6
    assert error(spectrum((50, 80), values), 9) < 1e-6


def test_both_factors_are_of_one_size() -> None:
    up, down = low_rank(spectrum((50, 80), torch.tensor([1e4, 1e-4], dtype=torch.float64)), 2)
    for column, row in zip(up.T, down, strict=True):
        assert float(column.norm()) == pytest.approx(float(row.norm()), rel=1e-3)


def test_nothing_stays_nothing() -> None:
    up, down = low_rank(torch.zeros(6, 9), 4)
    assert not bool(up.any())
    assert not bool(down.any())


@pytest.mark.parametrize("taps", [1, 9])
def test_weighted_factors_lose_the_least_of_the_outputs(taps: int) -> None:
    """Eckart and Young for M·L: what is lost there are its smallest singular values, and no other factors lose less."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(12, 5 * taps, generator=generator)
    inputs = torch.randn(200, 5, generator=generator) * torch.tensor([10.0, 3.0, 1.0, 0.3, 0.1])
    root = torch.linalg.cholesky(inputs.T @ inputs / len(inputs))

    def seen(change: torch.Tensor) -> torch.Tensor:
        return torch.einsum("pct,cd->pdt", change.unflatten(1, (5, taps)), root).flatten(1)

    up, down = weighted_low_rank(matrix, root, 2)
    assert (up.shape, down.shape) == ((12, 2), (2, 5 * taps))
    lost = torch.linalg.vector_norm(seen(matrix - up @ down))
    least = torch.linalg.svdvals(seen(matrix))[2:].norm()
    torch.testing.assert_close(lost, least, rtol=1e-4, atol=1e-5)
    plain_up, plain_down = low_rank(matrix, 2)
    assert lost < 0.9 * torch.linalg.vector_norm(seen(matrix - plain_up @ plain_down))
    torch.testing.assert_close(up.norm(dim=0), down.norm(dim=1))


def test_weighted_factors_of_full_rank_are_the_matrix() -> None:
    generator = torch.Generator().manual_seed(1)
    matrix, root = torch.randn(4, 6, generator=generator), torch.randn(6, 6, generator=generator).tril()
    root.diagonal().abs_().add_(0.5)
    up, down = weighted_low_rank(matrix, root, 6)
    torch.testing.assert_close(up @ down, matrix, rtol=1e-4, atol=1e-4)
