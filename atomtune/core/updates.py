"""The two forms of ΔW that a change of atoms has, and their gradients (paper, equations 6 to 9).

`AtomUpdate` is ΔW = α·C: the atoms' changes C work on every input channel (or on every slice of a tile's width), then
the coefficients α mix the results. `MatrixUpdate` is ΔW = W·B, which that is where α follows from the weight: without a
penalty α = X·P (`sparse_coding.linear_map`), so that α·C is X·(P·C), every row of the weight meets the same small
matrix B = P·C, and no coefficients are held.

Both can be added to the weight, and both can act on the layer's input instead, so that no weight is made; see
`functional`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from . import thresholds
from .gemm import Operation, gemm
from .layout import RowLayout, by_rows

Gradients = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Update(ABC):
    """ΔW of one layer, as small trained tensors beside frozen ones.

    Attributes:
        layout: how the weight is cut into rows.
        trained: the tensors that gradients are for; what they are is up to the form.
    """

    layout: RowLayout
    trained: Gradients

    def _taps(self, columns: Tensor) -> Tensor:
        """Columns of filters by tap and channel, (T, r, c_in): a view."""
        return columns.view(len(columns), self.layout.length, -1)

    def holding(self, *trained: Tensor | None) -> Self:
        """The same with other trained tensors, or with none."""
        return replace(self, trained=trained)

    @abstractmethod
    def scaled(self, scale: float) -> Self:
        """scale·ΔW."""

    @abstractmethod
    def delta_weight(self, weight: Tensor) -> Tensor:
        """ΔW in float32, (weight shape)."""

    def added_to(self, weight: Tensor) -> Tensor:
        """W + ΔW in float32, (weight shape)."""
        return self.delta_weight(weight).add_(weight)

    @abstractmethod
    def gradients(self, weight: Tensor, grad_weight: Tensor) -> Gradients:
        """The gradients of `trained` for that of W + ΔW, (weight shape)."""

    @abstractmethod
    def needs_no_weight(self, op: Operation, x: Tensor, weight: Tensor) -> tuple[bool, bool]:
        """Whether `forward` is the faster way forward, and `backward` the faster way back."""

    @abstractmethod
    def forward(self, op: Operation, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """y = (W + ΔW)·x + b, with no weight made. `weight` is of the type of x."""

    @abstractmethod
    def backward(
        self, op: Operation, grad_y: Tensor, x: Tensor, weight: Tensor, wants_x: bool
    ) -> tuple[Tensor | None, Gradients]:
        """grad_x, where it is wanted, and the gradients of `trained`, with no weight and no gradient of one made."""


@dataclass(frozen=True)
class AtomUpdate(Update):
    """ΔW = α·C + Δα·(D + C).

    `trained` are C, (m, r), or (c_in/groups, m, r) where every input channel has its own; and Δα by place, or None.

    Attributes:
        coefficients: α by place. Fastest where that of filters is contiguous, so that sums run along the input
            channels, nine numbers being too few for a processor's vectors, and that of tiles a view of (N, m).
        atoms: D, (m, r).
    """

    coefficients: Tensor
    atoms: Tensor

    @property
    def change(self) -> Tensor:
        """C."""
        change = self.trained[0]
        assert change is not None
        return change

    def scaled(self, scale: float) -> Self:
        """See `Update.scaled`: with scale·C and scale·D."""
        if scale == 1.0:
            return self
        return replace(self, trained=(scale * self.change, *self.trained[1:]), atoms=scale * self.atoms)

    def delta_weight(self, weight: Tensor) -> Tensor:
        """See `Update.delta_weight`."""
        _, extra = self.trained
        if extra is None:
            return self._spread(self.coefficients.float(), self.change)
        return self._spread(self.coefficients.float() + extra, self.change) + self._spread(extra, self._base())

    def added_to(self, weight: Tensor) -> Tensor:
        """See `Update.added_to`."""
        if self.trained[1] is None and self.layout.is_filter and self.change.dim() == 2:
            # in one pass over the weight, which is in this order where it is in channels_last
            coefficients = self.coefficients.float()
            changes = self.change.T.expand(len(coefficients), -1, -1)
            return self.layout.from_filters(torch.baddbmm(self.layout.filters(weight), changes, coefficients))
        return super().added_to(weight)

    def gradients(self, weight: Tensor, grad_weight: Tensor) -> Gradients:
        """See `Update.gradients`."""
        _, extra = self.trained
        coefficients, grad_extra = self.coefficients.float(), None
        if extra is not None:
            coefficients = coefficients + extra
            grad_extra = self._gather_coefficients(self._base() + self.change, grad_weight)
        return self._gather(coefficients, grad_weight), grad_extra

    def needs_no_weight(self, op: Operation, x: Tensor, weight: Tensor) -> tuple[bool, bool]:
        """See `Update.needs_no_weight`: where a large weight meets few positions of the output."""
        if self.trained[1] is not None or not op.has_columns:  # Δα needs the whole gradient of the weight
            return False, False
        if not self.layout.is_filter and weight[0, 0].numel() > 1:  # columns have another order than blocks of filters
            return False, False
        device, positions = x.device.type, op.positions(x, weight)
        few, few_wide = thresholds.ATOMS.get(device, (0, 0)), thresholds.ATOMS_WIDE.get(device, (0, 0))
        filters, wide = self.layout.is_filter, weight.shape[0] >= 4 * weight.shape[1]
        forward = few_wide[0] if wide and not filters else few[0]
        backward = few_wide[1] if wide or filters else few[1]
        return positions <= forward, positions <= backward

    def forward(self, op: Operation, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """See `Update.forward`."""
        columns = op.columns(x, weight)
        y = gemm(columns, op.matrix(weight), bias)
        mixing = self.coefficients.flatten(1).to(x.dtype)
        if self.layout.tile is None:
            y += gemm(_on_taps(self.change.to(x.dtype), self._taps(columns)).flatten(1), mixing)
        else:
            height, width = self.layout.tile
            # each slice of the column meets every tile: (T, p·m, c_in/q), then α mixes the slices
            slices = columns.view(len(columns), -1, width).transpose(1, 2)
            met = torch.matmul(self._stacked_tiles(x.dtype), slices).view(-1, mixing.shape[1])
            y.view(len(columns), -1, height).add_(gemm(met, mixing).view(len(columns), height, -1).transpose(1, 2))
        return op.from_rows(y, x, weight)

    def backward(
        self, op: Operation, grad_y: Tensor, x: Tensor, weight: Tensor, wants_x: bool
    ) -> tuple[Tensor | None, Gradients]:
        """See `Update.backward`."""
        columns, grad_rows = op.columns(x, weight), op.rows(grad_y)
        mixing = self.coefficients.flatten(1).to(x.dtype)
        grad_columns = gemm(grad_rows, op.matrix(weight).T) if wants_x else None
        if self.layout.tile is None:
            grad_filtered = gemm(grad_rows, mixing.T).view(len(grad_rows), -1, self.layout.shape[1])
            grad_change = _gradient_on_taps(grad_filtered, self._taps(columns), self.change.dim() == 3)
            if grad_columns is not None:
                _add_on_taps_(self._taps(grad_columns), self.change.mT.to(x.dtype), grad_filtered)
        else:
            height, width = self.layout.tile
            upright = grad_rows.view(len(grad_rows), -1, height).transpose(1, 2).reshape(-1, len(mixing))
            grad_met = gemm(upright, mixing.T).view(len(grad_rows), -1, columns.shape[1] // width)
            grad_tiles = torch.bmm(grad_met, columns.view(len(grad_rows), -1, width)).float().sum(0)
            grad_change = grad_tiles.view(height, -1, width).transpose(0, 1).reshape(self.change.shape)
            if grad_columns is not None:
                tiles = self._stacked_tiles(x.dtype).expand(len(grad_rows), -1, -1)
                grad_columns.view(len(grad_rows), -1, width).baddbmm_(grad_met.transpose(1, 2), tiles)
        return None if grad_columns is None else op.from_columns(grad_columns, x, weight), (grad_change, None)

    def _base(self) -> Tensor:
        return self.atoms if self.change.dim() == 2 else self.atoms.expand(len(self.change), -1, -1)

    def _stacked_tiles(self, dtype: torch.dtype) -> Tensor:
        """C as it works on a slice of a column: (p·m, q)."""
        assert self.layout.tile is not None
        height, width = self.layout.tile
        return self.change.view(-1, height, width).transpose(0, 1).reshape(-1, width).to(dtype)

    def _spread(self, coefficients: Tensor, change: Tensor) -> Tensor:
        """α·C as a weight: by place, (m, r) or (c_in/groups, m, r) → (weight shape)."""
        layout = self.layout
        if layout.tile is not None:
            tiles = (by_rows(coefficients) @ change).view(len(coefficients), -1, *layout.tile)
            return tiles.transpose(1, 2).reshape(layout.shape)
        if change.dim() == 3:
            return layout.from_filters(torch.einsum("omc,cmr->orc", coefficients, change))
        return layout.from_filters(torch.bmm(change.T.expand(len(coefficients), -1, -1), coefficients))

    def _gather(self, coefficients: Tensor, grad_weight: Tensor) -> Tensor:
        """The adjoint of `_spread` in C, with the shape of C."""
        layout = self.layout
        if layout.tile is not None:
            rows = layout.tiles(grad_weight).transpose(1, 2).reshape(layout.count, layout.length)
            return by_rows(coefficients).T @ rows
        filters = layout.filters(grad_weight)
        if self.change.dim() == 3:
            return torch.einsum("omc,orc->cmr", coefficients, filters)
        return torch.bmm(coefficients, filters.transpose(1, 2)).sum(0)

    def _gather_coefficients(self, change: Tensor, grad_weight: Tensor) -> Tensor:
        """The adjoint of `_spread` in α, by place."""
        layout = self.layout
        if layout.tile is not None:
            return torch.einsum("mpq,opcq->omc", change.view(len(change), *layout.tile), layout.tiles(grad_weight))
        filters = layout.filters(grad_weight)
        if change.dim() == 3:
            return torch.einsum("cmr,orc->omc", change, filters)
        return torch.bmm(change.expand(len(filters), -1, -1), filters)


@dataclass(frozen=True)
class MatrixUpdate(Update):
    """ΔW = W·B, row by row.

    `trained` is B, (r, r), or for filters also (c_in/groups, r, r), where every input channel has its own.

    The gradient of B needs no gradient of the weight: what Wᵀ makes of grad_y, which grad_x is made of, holds all that
    B has to know. So a step has two large products where an `AtomUpdate` has three.
    """

    @property
    def matrix(self) -> Tensor:
        """B."""
        (matrix,) = self.trained
        assert matrix is not None
        return matrix

    def scaled(self, scale: float) -> Self:
        """See `Update.scaled`."""
        return self if scale == 1.0 else self.holding(scale * self.matrix)

    def delta_weight(self, weight: Tensor) -> Tensor:
        """See `Update.delta_weight`."""
        if not self.layout.is_filter:
            return self.layout.to_weight(self.layout.to_rows(weight.float()) @ self.matrix)
        filters = self.layout.filters(weight)
        if self.matrix.dim() == 3:
            return self.layout.from_filters(torch.einsum("ckr,okc->orc", self.matrix, filters))
        return self.layout.from_filters(torch.bmm(self.matrix.T.expand(len(filters), -1, -1), filters))

    def added_to(self, weight: Tensor) -> Tensor:
        """See `Update.added_to`."""
        if self.matrix.dim() == 3 or not self.layout.is_filter:
            return super().added_to(weight)
        filters = self.layout.filters(weight)
        matrices = self.matrix.T.expand(len(filters), -1, -1)
        return self.layout.from_filters(torch.baddbmm(filters, matrices, filters))

    def gradients(self, weight: Tensor, grad_weight: Tensor) -> Gradients:
        """See `Update.gradients`."""
        if not self.layout.is_filter:
            return (self.layout.to_rows(weight.float()).T @ self.layout.to_rows(grad_weight.float()),)
        filters, grad_filters = self.layout.filters(weight), self.layout.filters(grad_weight)
        if self.matrix.dim() == 3:
            return (torch.einsum("okc,orc->ckr", filters, grad_filters),)
        return (torch.bmm(filters, grad_filters.transpose(1, 2)).sum(0),)

    def needs_no_weight(self, op: Operation, x: Tensor, weight: Tensor) -> tuple[bool, bool]:
        """See `Update.needs_no_weight`: filters alone; tiles would cost many times what they do on the weight."""
        if not (self.layout.is_filter and op.has_columns):
            return False, False
        forward, backward = thresholds.MATRIX.get(x.device.type, (0, 0))
        if self.matrix.dim() == 3:
            forward = min(forward, thresholds.MATRIX_BY_CHANNEL[0] * len(weight))
            backward = min(backward, thresholds.MATRIX_BY_CHANNEL[1] * len(weight))
        positions = op.positions(x, weight)
        return positions <= forward, positions <= backward

    def forward(self, op: Operation, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """See `Update.forward`: W meets (I + B)·x."""
        columns = _plus_on_taps(self.matrix.to(x.dtype), self._taps(op.columns(x, weight)))
        return op.from_rows(gemm(columns.flatten(1), op.matrix(weight), bias), x, weight)

    def backward(
        self, op: Operation, grad_y: Tensor, x: Tensor, weight: Tensor, wants_x: bool
    ) -> tuple[Tensor | None, Gradients]:
        """See `Update.backward`."""
        taps = self._taps(op.columns(x, weight))
        grad_met = self._taps(gemm(op.rows(grad_y), op.matrix(weight).T))
        grad_matrix = _gradient_on_taps(grad_met, taps, self.matrix.dim() == 3)
        if not wants_x:
            return None, (grad_matrix,)
        grad_columns = _plus_on_taps(self.matrix.mT.to(x.dtype), grad_met).flatten(1)
        return op.from_columns(grad_columns, x, weight), (grad_matrix,)


def _on_taps(matrix: Tensor, taps: Tensor) -> Tensor:
    """A matrix (m, r), or one for every channel (c, m, r), times taps (T, r, c): (T, m, c)."""
    if matrix.dim() == 3:
        return torch.einsum("cmr,trc->tmc", matrix, taps)
    return torch.bmm(matrix.expand(len(taps), -1, -1), taps)


def _plus_on_taps(matrix: Tensor, taps: Tensor) -> Tensor:
    """`taps` + `_on_taps`."""
    if matrix.dim() == 3:
        return taps + _on_taps(matrix, taps)
    return torch.baddbmm(taps, matrix.expand(len(taps), -1, -1), taps)


def _add_on_taps_(target: Tensor, matrix: Tensor, taps: Tensor) -> None:
    """Add `_on_taps` to `target`, in place."""
    if matrix.dim() == 3:
        target += _on_taps(matrix, taps)
    else:
        target.baddbmm_(matrix.expand(len(taps), -1, -1), taps)


def _gradient_on_taps(grad: Tensor, taps: Tensor, by_channel: bool) -> Tensor:
    """The gradient of the matrix of `_on_taps` for that of its result, float32."""
    if by_channel:
        return torch.einsum("tmc,trc->cmr", grad, taps).float()
    return torch.bmm(grad, taps.transpose(1, 2)).float().sum(0)
