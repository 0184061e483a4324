"""From a weight to atoms and coefficients, W ≈ α·D (paper, equations 3 to 5)."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .layout import RowLayout
from .precision import all_finite, full_precision
from .sparse_coding import Coder, chunk_numbers, learn_atoms, linear_map, sample_stride

ALGORITHM = 2
"""Another number whenever the same weight would get other atoms. Part of the names of cached decompositions."""

FIRST_ALGORITHM = 1
"""That of atomtune 0.1, which worked in float32 on many layers at once."""

_PART = 1 << 20
_REACH_ROWS = 16_384


@dataclass(frozen=True)
class Fit:
    """How well coefficients and atoms give a weight back.

    Attributes:
        energy, residual: sums of squares of W and of W − αD.
        zeros: coefficients that are exactly zero.
    """

    energy: float
    residual: float
    zeros: int


@dataclass(frozen=True)
class Decomposition:
    """One layer's weight as coefficients and atoms.

    Attributes:
        layout: how the weight is cut into rows.
        atoms: D, (m, r), float32 with values that float16 holds exactly, rows of unit norm to float16 rounding.
        coefficients: α, (N, m), float16; None where λ is 0, as α is one product with the weight then (`linear_map`).
        sparsity: λ in units of the standard deviation of the weight.
        fit: where it was measured.
    """

    layout: RowLayout
    atoms: Tensor
    coefficients: Tensor | None
    sparsity: float
    fit: Fit | None = field(default=None, compare=False)

    @property
    def may_follow(self) -> bool:
        """Whether α may be left to follow from the weight at each use: λ is 0, and one r×r matrix costs no more."""
        return self.sparsity == 0.0 and (self.layout.is_filter or len(self.atoms) >= self.layout.length)

    def reach(self, weight: Tensor) -> float:
        """The norm of a row of α, in the mean of squares; of a sample of rows where α is not held."""
        if self.coefficients is None:
            # every so many rows: not to be changed, as a checkpoint's numbers are in units that follow from it
            stride = max(1, self.layout.count // max(1, min(_REACH_ROWS, _PART // self.layout.length)))
            rows = self.layout.every(weight.detach(), stride).float()
            return _mean_norm(rows @ linear_map(self.atoms).to(rows))
        # part by part, as all of them in float32 would be gigabytes of fresh memory
        return _mean_norm(*self.coefficients.split(_PART // len(self.atoms)))

    def coded(self, weight: Tensor) -> Tensor:
        """α, (N, m), float16: as held, or encoded from the base weight. Raises ValueError as `encode_weight`."""
        if self.coefficients is not None:
            return self.coefficients
        return encode_weight(weight, self.layout, self.atoms, self.sparsity)

    def reconstruct(self, weight: Tensor) -> Tensor:
        """α·D as a float32 weight, for the weight it was made from."""
        return self.layout.to_weight(self.coded(weight).float() @ self.atoms)

    def relative_error(self, weight: Tensor) -> float:
        """‖W − α·D‖ / ‖W‖; 0 for a weight of zeros."""
        norm = float(weight.float().norm())
        return float((weight.float() - self.reconstruct(weight)).norm()) / norm if norm > 0 else 0.0


def decompose(
    weight: Tensor,
    atoms: int,
    tile_limit: int,
    sparsity: float,
    *,
    pointwise_tiles: bool = True,
    block: int = 1,
    device: torch.device | None = None,
    measure: bool = False,
) -> Decomposition:
    """Learn `atoms` atoms for one weight and encode it over them. The result is where the weight is.

    It depends on the weight's values and these arguments alone: the same weight gives the same bits on the same device,
    whatever else is decomposed. What is held beside the result is small on a CPU.

    Args:
        weight: (c_out, c_in/groups, …), any floating type.
        atoms: rows of D. tile_limit: k_c, pointwise_tiles and block: see `RowLayout.of`.
        sparsity: λ in units of the standard deviation of the weight.
        device: where to compute; where the weight is, without one.
        measure: find out how well the weight is given back too.

    Raises:
        ValueError: the weight holds NaN, infinite or far too large values, or has fewer than two dimensions.
    """
    layout = RowLayout.of(weight.shape, tile_limit, pointwise_tiles=pointwise_tiles, block=block)
    home, weight = weight.device, weight.detach().to(device or weight.device)
    if not all_finite(weight):
        raise ValueError("the weight holds values that are not finite")
    with full_precision(weight.device):
        penalty = absolute_penalty(weight, sparsity)
        # in float16 from the start, so that an atoms file can hold D exactly in half the bytes
        learned = learn_atoms(_sample(weight, layout), atoms, penalty).half().float().cpu()
        coefficients, fit = None, None
        if sparsity > 0.0 or measure:
            sums = _FitSums(weight.device) if measure else None
            coefficients = _encoded(weight, layout, learned, penalty, sums)
            fit = None if sums is None else sums.read()
    held = coefficients.to(home) if coefficients is not None and sparsity > 0.0 else None
    return Decomposition(layout, learned.to(home), held, sparsity, fit)


def encode_weight(weight: Tensor, layout: RowLayout, atoms: Tensor, sparsity: float) -> Tensor:
    """α (N, m) in float16 for a weight and given atoms: the one way coefficients are computed, cached or not.

    Raises ValueError where α is not finite in float16, as for a weight that is not finite or is far too large.
    """
    with full_precision(weight.device):
        return _encoded(weight.detach(), layout, atoms, absolute_penalty(weight, sparsity), None)


def absolute_penalty(rows: Tensor, sparsity: float) -> float:
    """λ in the units of the rows: `sparsity` times their standard deviation, so one value serves every layer.

    Raises ValueError where that is not finite.
    """
    if sparsity == 0.0:
        return 0.0
    penalty = sparsity * float(rows.detach().float().std(correction=0))
    if not math.isfinite(penalty):
        raise ValueError(_TOO_LARGE)
    return penalty


_TOO_LARGE = "the coefficients are not finite in float16"


def _sample(weight: Tensor, layout: RowLayout) -> Tensor:
    """The rows that atoms are learned from."""
    return layout.every(weight, sample_stride(layout.count, layout.length))


def _mean_norm(*parts: Tensor) -> float:
    squares = sum(float(part.float().square().sum()) for part in parts)
    return math.sqrt(squares / max(1, sum(len(part) for part in parts)))


def _encoded(weight: Tensor, layout: RowLayout, atoms: Tensor, penalty: float, fit: "_FitSums | None") -> Tensor:
    """α (N, m) in float16, piece by piece, so that what is worked on stays in the processor's cache."""
    if tuple(weight.shape) != layout.shape:
        raise ValueError(f"expected a weight of shape {layout.shape}, got {tuple(weight.shape)}")
    out = torch.empty(layout.count, len(atoms), dtype=torch.float16, device=weight.device)
    coder, atoms_back = Coder(atoms, penalty, device=weight.device), atoms.to(weight.device, torch.float32).T
    share = layout.length / max(atoms.shape)  # many atoms for short rows: it is their numbers that count
    for piece, cut, rows in layout.pieces(int(chunk_numbers(weight.device) * share)):
        part = piece.to_rows(weight[cut]).float()
        codes = coder.codes(part.T)
        out[rows] = codes.T
        if fit is not None:
            fit.add(part, atoms_back, codes.half().float())
    if not all_finite(out):
        raise ValueError(_TOO_LARGE)
    return out


class _FitSums:
    """Adds up a `Fit`, piece by piece, on the device."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(3, dtype=torch.float64, device="cpu" if device.type == "mps" else device)

    def add(self, rows: Tensor, atoms_back: Tensor, codes: Tensor) -> None:
        """Count rows (n, r) and their coefficients (m, n); atoms_back is Dᵀ."""
        residual = (rows - (atoms_back @ codes).T).reshape(-1)
        flat = rows.reshape(-1)
        figures = torch.stack([torch.dot(flat, flat), torch.dot(residual, residual)])
        zeros = codes.numel() - torch.count_nonzero(codes)
        self.sums += torch.cat([figures.to(self.sums), zeros.to(self.sums).view(1)])

    def read(self) -> Fit:
        """What was counted so far."""
        energy, residual, zeros = self.sums.tolist()
        return Fit(energy, residual, round(zeros))
