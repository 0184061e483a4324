"""From a weight to atoms and coefficients, W ≈ α·D (paper, equations 3 to 5)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .rows import RowLayout
from .sparse import encode, learn_atoms


@dataclass(frozen=True)
class Decomposition:
    """One layer's weight as coefficients and atoms.

    Attributes:
        layout: how the weight is cut into rows.
        atoms: D, (m, r), float32 with values that float16 holds exactly, rows of unit norm to float16 rounding.
        coefficients: α, (N, m), float16.
        sparsity: λ in units of the standard deviation of the weight.
    """

    layout: RowLayout
    atoms: Tensor
    coefficients: Tensor
    sparsity: float

    def reconstruct(self) -> Tensor:
        """α·D as a float32 weight."""
        return self.layout.to_weight(self.coefficients.float() @ self.atoms)

    def relative_error(self, weight: Tensor) -> float:
        """‖W − α·D‖ / ‖W‖; 0 for a weight of zeros."""
        norm = float(weight.float().norm())
        return float((weight.float() - self.reconstruct()).norm()) / norm if norm > 0 else 0.0

    def zero_fraction(self) -> float:
        """Share of the coefficients that are exactly zero."""
        return 1.0 - float(torch.count_nonzero(self.coefficients)) / max(1, self.coefficients.numel())


def decompose(weight: Tensor, atoms: int, tile_limit: int, sparsity: float) -> Decomposition:
    """Learn `atoms` atoms for one weight and encode it over them.

    Raises:
        ValueError: the weight holds NaN, infinite or far too large values, or has fewer than two dimensions.
    """
    layout = RowLayout.of(weight.shape, tile_limit)
    rows = layout.to_rows(weight.detach())
    if not bool(torch.isfinite(rows).all()):
        raise ValueError("the weight holds values that are not finite")
    # in float16 from the start, so that an atoms file can hold D exactly in half the bytes
    learned = learn_atoms(rows, atoms, absolute_penalty(rows, sparsity)).half().float()
    return Decomposition(layout, learned, encode_weight(weight, layout, learned, sparsity), sparsity)


def encode_weight(weight: Tensor, layout: RowLayout, atoms: Tensor, sparsity: float) -> Tensor:
    """α (N, m) in float16 for a weight and given atoms: the one way coefficients come to be, cached or not.

    Raises ValueError where α is not finite in float16, as for a weight that is not finite or is far too large.
    """
    rows = layout.to_rows(weight.detach())
    coefficients = encode(rows, atoms, absolute_penalty(rows, sparsity)).half()
    if not bool(torch.isfinite(coefficients).all()):
        raise ValueError("the coefficients are not finite in float16")
    return coefficients


def absolute_penalty(rows: Tensor, sparsity: float) -> float:
    """λ in the units of the rows: `sparsity` times their standard deviation, so one value serves every layer."""
    return sparsity * float(rows.float().std(correction=0))
