"""ΔW = α·C, the form that every change of atoms has, and the adjoints of that map (paper, equations 6 to 9)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .layout import RowLayout


def arranged(layout: RowLayout, rows: Tensor) -> Tensor:
    """Coefficients (N, m) by their place in the weight: (c_out/p, m, c_in/q), a view; p = q = 1 for filters."""
    height = layout.shape[0] // (1 if layout.tile is None else layout.tile[0])
    return rows.view(height, -1, rows.shape[1]).transpose(1, 2)


def by_rows(arranged_: Tensor) -> Tensor:
    """The way back from `arranged`, (N, m)."""
    return arranged_.transpose(1, 2).reshape(-1, arranged_.shape[1])


@dataclass(frozen=True)
class Factors:
    """ΔW = α·C + Δα·(D + C).

    Attributes:
        coefficients: α, frozen, `arranged`. Fastest where that of filters is contiguous, so that sums run along the
            input channels, nine numbers being too few for a processor's vectors, and that of tiles a view of (N, m).
        change: C, (m, r), or (c_in/groups, m, r) where every input channel has its own.
        extra: Δα, `arranged`, where the coefficients are trained too.
        atoms: D, (m, r).
    """

    layout: RowLayout
    coefficients: Tensor
    change: Tensor
    extra: Tensor | None
    atoms: Tensor

    def scaled(self, scale: float) -> "Factors":
        """scale·ΔW, where Δα is not trained."""
        return self if scale == 1.0 else replace(self, change=scale * self.change)

    def update(self) -> Tensor:
        """ΔW in float32, (weight shape)."""
        if self.extra is None:
            return spread(self.layout, self.coefficients.float(), self.change)
        moved = self.coefficients.float() + self.extra
        return spread(self.layout, moved, self.change) + spread(self.layout, self.extra, self._base())

    def added_to(self, weight: Tensor) -> Tensor:
        """W + ΔW in float32, (weight shape)."""
        if self.extra is None and self.layout.is_filter and self.change.dim() == 2:
            # in one pass over the weight, which is in this order where it is in channels_last
            coefficients = self.coefficients.float()
            changes = self.change.T.expand(len(coefficients), -1, -1)
            return weight_of_filters(
                self.layout, torch.baddbmm(filters_of(self.layout, weight.float()), changes, coefficients)
            )
        return self.update().add_(weight)

    def gradients(self, of_weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """The gradients of C and Δα for one of W', (weight shape)."""
        coefficients, of_extra = self.coefficients.float(), None
        if self.extra is not None:
            coefficients = coefficients + self.extra
            of_extra = gather_coefficients(self.layout, self._base() + self.change, of_weight)
        return gather(self.layout, coefficients, of_weight, self.change.dim() == 3), of_extra

    def _base(self) -> Tensor:
        return self.atoms if self.change.dim() == 2 else self.atoms.expand(len(self.change), -1, -1)


def spread(layout: RowLayout, coefficients: Tensor, change: Tensor) -> Tensor:
    """α·C as a weight: `arranged` α and C, (m, r) or (c_in/groups, m, r) → (weight shape)."""
    if layout.tile is not None:
        tiles = (by_rows(coefficients) @ change).view(len(coefficients), -1, *layout.tile)
        return tiles.transpose(1, 2).reshape(layout.shape)
    if change.dim() == 3:
        return weight_of_filters(layout, torch.einsum("omc,cmr->orc", coefficients, change))
    return weight_of_filters(layout, torch.bmm(change.T.expand(len(coefficients), -1, -1), coefficients))


def gather(layout: RowLayout, coefficients: Tensor, of_weight: Tensor, by_channel: bool) -> Tensor:
    """The adjoint of `spread` in C, (m, r) or (c_in/groups, m, r)."""
    if layout.tile is not None:
        rows = _tiles(layout, of_weight).transpose(1, 2).reshape(layout.count, layout.length)
        return by_rows(coefficients).T @ rows
    filters = filters_of(layout, of_weight.float())
    if by_channel:
        return torch.einsum("omc,orc->cmr", coefficients, filters)
    return torch.bmm(coefficients, filters.transpose(1, 2)).sum(0)


def gather_coefficients(layout: RowLayout, change: Tensor, of_weight: Tensor) -> Tensor:
    """The adjoint of `spread` in α, `arranged`."""
    if layout.tile is not None:
        return torch.einsum("mpq,opcq->omc", change.view(len(change), *layout.tile), _tiles(layout, of_weight))
    filters = filters_of(layout, of_weight.float())
    if change.dim() == 3:
        return torch.einsum("cmr,orc->omc", change, filters)
    return torch.bmm(change.expand(len(filters), -1, -1), filters)


def filters_of(layout: RowLayout, weight: Tensor) -> Tensor:
    """A weight of filters as (c_out, r, c_in/groups): a view where it is in channels_last."""
    return weight.permute(0, 2, 3, 1).reshape(layout.shape[0], layout.length, layout.shape[1])


def weight_of_filters(layout: RowLayout, filters: Tensor) -> Tensor:
    """The way back from `filters_of`, a view in channels_last."""
    c_out, c_in, height, width = layout.shape
    return filters.view(c_out, height, width, c_in).permute(0, 3, 1, 2)


def _tiles(layout: RowLayout, weight: Tensor) -> Tensor:
    """A weight of tiles as (c_out/p, p, c_in/q, q), float32."""
    assert layout.tile is not None
    p, q = layout.tile
    return weight.float().reshape(layout.shape[0] // p, p, layout.shape[1] // q, q)
