"""From a weight to atoms and coefficients, W ≈ α·D (paper, equations 3 to 5)."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .layout import RowLayout
from .precision import all_finite, full_precision
from .sparse_coding import Coder, chunk_numbers, learn_together, linear_map, sample_stride

_TOGETHER = 1 << 22
_TOGETHER_GPU = 1 << 28
_PART = 1 << 20


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
    """

    layout: RowLayout
    atoms: Tensor
    coefficients: Tensor | None
    sparsity: float

    def reach(self, weight: Tensor) -> float:
        """The norm of a row of α, in the mean of squares; of a sample of rows where α is not held."""
        if self.coefficients is None:
            rows = self.layout.every(weight.detach(), _stride(self.layout)).float()
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


def decompose(weight: Tensor, atoms: int, tile_limit: int, sparsity: float) -> Decomposition:
    """Learn `atoms` atoms for one weight and encode it over them.

    Raises:
        ValueError: the weight holds NaN, infinite or far too large values, or has fewer than two dimensions.
    """
    try:
        return decompose_all({"": weight}, atoms, tile_limit, sparsity)[""]
    except UncodableError as problem:
        raise ValueError(problem.reason) from None


class UncodableError(ValueError):
    """A weight of a model cannot be decomposed.

    Attributes:
        layer: its name.
        reason: why.
    """

    def __init__(self, layer: str, reason: str) -> None:
        super().__init__(f"{layer}: {reason}")
        self.layer = layer
        self.reason = reason


def decompose_all(
    weights: Mapping[str, Tensor],
    atoms: int,
    tile_limit: int,
    sparsity: float,
    *,
    device: torch.device | None = None,
    on_layer: Callable[[str, Decomposition, Fit], None] | None = None,
) -> dict[str, Decomposition]:
    """Decompose weights, each over atoms of its own; the result is in their order, and where they are.

    Layers with rows of the same length learn their atoms together. What is held beside the result is small on a CPU.

    Args:
        weights: by name, any floating type.
        atoms, tile_limit, sparsity: as for `decompose`.
        device: where to compute; where the first weight is, without one.
        on_layer: hears of every layer when it is done, not in their order; what it is told costs a little time.

    Raises:
        UncodableError: see `decompose`.
    """
    layouts: dict[str, RowLayout] = {}
    for name, weight in weights.items():
        try:
            layouts[name] = RowLayout.of(weight.shape, tile_limit)
        except ValueError as problem:
            raise UncodableError(name, str(problem)) from None
    if not layouts:
        return {}
    device = device or next(iter(weights.values())).device
    result: dict[str, Decomposition] = {}
    with full_precision(device):
        for names in _together(layouts, _TOGETHER if device.type == "cpu" else _TOGETHER_GPU):
            chosen = {name: (weights[name].detach().to(device), layouts[name]) for name in names}
            for name, part, fit in _decomposed(chosen, atoms, sparsity, on_layer is not None):
                home = weights[name].device
                codes = None if part.coefficients is None else part.coefficients.to(home)
                result[name] = replace(part, atoms=part.atoms.to(home), coefficients=codes)
                if on_layer is not None and fit is not None:
                    on_layer(name, result[name], fit)
    return {name: result[name] for name in weights}


def _decomposed(
    weights: dict[str, tuple[Tensor, RowLayout]], atoms: int, sparsity: float, with_fit: bool
) -> Iterator[tuple[str, Decomposition, Fit | None]]:
    """Layers whose rows have one length, with atoms learned together; each is dropped when it is done."""
    spreads = torch.stack([_spread(weight) for weight, _ in weights.values()])
    by_name = dict(zip(weights, spreads.tolist(), strict=True))
    for name, spread in by_name.items():
        if not math.isfinite(spread):
            raise UncodableError(name, "the weight holds values that are not finite")
    samples = [layout.every(weight, _stride(layout)) for weight, layout in weights.values()]
    # in float16 from the start, so that an atoms file can hold D exactly in half the bytes
    learned = learn_together(samples, atoms, None if sparsity == 0.0 else sparsity * spreads).half().float().cpu()
    for (name, spread), own in zip(by_name.items(), learned, strict=True):
        weight, layout = weights.pop(name)
        fit = _FitSums(weight.device) if with_fit else None
        try:
            coefficients = _coded(weight, layout, own, sparsity * spread, fit)
        except ValueError as problem:
            raise UncodableError(name, str(problem)) from None
        # a clone, so that it holds nothing of the other layers
        part = Decomposition(layout, own.clone(), coefficients if sparsity > 0.0 else None, sparsity)
        yield name, part, None if fit is None else fit.read()


def encode_weight(weight: Tensor, layout: RowLayout, atoms: Tensor, sparsity: float) -> Tensor:
    """α (N, m) in float16 for a weight and given atoms: the one way coefficients come to be, cached or not.

    Raises ValueError where α is not finite in float16, as for a weight that is not finite or is far too large.
    """
    with full_precision(weight.device):
        return _coded(weight, layout, atoms, _penalty(weight, sparsity), None)


def absolute_penalty(rows: Tensor, sparsity: float) -> float:
    """λ in the units of the rows: `sparsity` times their standard deviation, so one value serves every layer."""
    return sparsity * float(_spread(rows))


def _mean_norm(*parts: Tensor) -> float:
    squares = sum(float(part.float().square().sum()) for part in parts)
    return math.sqrt(squares / max(1, sum(len(part) for part in parts)))


_TOO_LARGE = "the coefficients are not finite in float16"


def _penalty(weight: Tensor, sparsity: float) -> float:
    penalty = absolute_penalty(weight, sparsity)
    if not math.isfinite(penalty):
        raise ValueError(_TOO_LARGE)
    return penalty


def _spread(values: Tensor) -> Tensor:
    return values.detach().float().std(correction=0)


def _stride(layout: RowLayout) -> int:
    return sample_stride(layout.count, layout.length)


def _together(layouts: Mapping[str, RowLayout], numbers: int) -> Iterator[list[str]]:
    """Names of layers to learn together: rows of one length, `numbers` numbers at most when padded to the longest."""
    sizes = {name: (layout.length, -(-layout.count // _stride(layout))) for name, layout in layouts.items()}
    batch: list[str] = []
    for name in sorted(sizes, key=lambda name: sizes[name]):
        length, rows = sizes[name]
        if batch and (sizes[batch[0]][0] != length or (len(batch) + 1) * rows * length > numbers):
            yield batch
            batch = []
        batch.append(name)
    yield batch


def _pieces(
    weight: Tensor, layout: RowLayout, atoms: Tensor, penalty: float
) -> Iterator[tuple[RowLayout, slice, slice, Tensor, Tensor]]:
    """A weight, piece by piece: layout, slices of the weight and of the rows, rows (n, r), coefficients (m, n)."""
    if tuple(weight.shape) != layout.shape:
        raise ValueError(f"expected a weight of shape {layout.shape}, got {tuple(weight.shape)}")
    weight = weight.detach()
    coder = Coder(atoms, penalty, device=weight.device)
    share = layout.length / max(atoms.shape)  # many atoms for short rows: it is their numbers that count
    for piece, cut, rows in layout.pieces(int(chunk_numbers(weight.device) * share)):
        part = piece.to_rows(weight[cut]).float()
        yield piece, cut, rows, part, coder.codes(part.T)


def _coded(weight: Tensor, layout: RowLayout, atoms: Tensor, penalty: float, fit: "_FitSums | None") -> Tensor:
    out = torch.empty(layout.count, atoms.shape[0], dtype=torch.float16, device=weight.device)
    atoms_back = atoms.to(weight.device, torch.float32).T
    for _, _, rows, part, codes in _pieces(weight, layout, atoms, penalty):
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
