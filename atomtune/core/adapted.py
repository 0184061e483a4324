"""A layer with a change of its atoms, and the gradients of that change, without ever keeping what is large.

ΔW = α·C is a map in two steps: the atoms' changes C work on every input channel (or on every slice of a tile's width),
then the coefficients α mix what comes out. So there are two ways for each direction, and both give the same numbers but
for rounding. `dense` makes W' = W + ΔW, uses it and drops it; on the way back it makes W' again and projects the
gradient of the weight onto α at once. `mixed` never makes a weight: it is dearer by position of the output and cheaper
by weight, and so the better one where a large weight meets few positions. Autograd on its own keeps W' and the
gradient of every weight in full.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .factors import Factors
from .layout import RowLayout
from .maps import Convolution, Product
from .products import product
from .refiltered import Refiltering, refiltered


def mixed_forward(
    map_: Product | Convolution, factors: Factors, x: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """y = (W + ΔW)·x + b, with no weight made on the way."""
    columns = map_.columns(x, weight)
    y = product(columns, map_.matrix(weight), bias)
    mixing = factors.coefficients.flatten(1).to(x.dtype)
    if factors.layout.tile is None:
        y += product(_filtered(factors, columns), mixing)
    else:
        height, width = factors.layout.tile
        # each slice of the column meets every tile: (T, p·m, c_in/q), then α mixes the slices
        slices = columns.view(len(columns), -1, width).transpose(1, 2)
        met = torch.matmul(_tiles(factors, x.dtype), slices).view(-1, mixing.shape[1])
        y.view(len(columns), -1, height).add_(product(met, mixing).view(len(columns), height, -1).transpose(1, 2))
    return map_.from_rows(y, x, weight)


def mixed_backward(
    map_: Product | Convolution, factors: Factors, out: Tensor, x: Tensor, weight: Tensor, wants_x: bool
) -> tuple[Tensor | None, Tensor]:
    """The gradients of x and C for `out`, that of y, with no weight and no gradient of one made on the way."""
    columns, rows = map_.columns(x, weight), map_.rows(out)
    mixing = factors.coefficients.flatten(1).to(x.dtype)
    of_columns = product(rows, map_.matrix(weight).T) if wants_x else None
    if factors.layout.tile is None:
        of_filtered = product(rows, mixing.T).view(len(rows), -1, factors.layout.shape[1])
        of_change = _through_filters(factors, columns, of_filtered, of_columns)
    else:
        height, width = factors.layout.tile
        upright = rows.view(len(rows), -1, height).transpose(1, 2).reshape(-1, len(mixing))
        of_met = product(upright, mixing.T).view(len(rows), -1, columns.shape[1] // width)
        of_tiles = torch.bmm(of_met, columns.view(len(rows), -1, width)).float().sum(0)
        of_change = of_tiles.view(height, -1, width).transpose(0, 1).reshape(factors.change.shape)
        if of_columns is not None:
            tiles = _tiles(factors, x.dtype).expand(len(rows), -1, -1)
            of_columns.view(len(rows), -1, width).baddbmm_(of_met.transpose(1, 2), tiles)
    return None if of_columns is None else map_.from_columns(of_columns, x, weight), of_change


def _tiles(factors: Factors, dtype: torch.dtype) -> Tensor:
    """C as it works on a slice of a column: (p·m, q)."""
    assert factors.layout.tile is not None
    height, width = factors.layout.tile
    return factors.change.view(-1, height, width).transpose(0, 1).reshape(-1, width).to(dtype)


def _filtered(factors: Factors, columns: Tensor) -> Tensor:
    """Every channel of the columns under the changes of the atoms, (T, m·c_in)."""
    taps = columns.view(len(columns), factors.layout.length, -1)
    change = factors.change.to(columns.dtype)
    if change.dim() == 3:
        return torch.einsum("cmr,trc->tmc", change, taps).flatten(1)
    return torch.bmm(change.expand(len(columns), -1, -1), taps).flatten(1)


def _through_filters(factors: Factors, columns: Tensor, of_filtered: Tensor, of_columns: Tensor | None) -> Tensor:
    """The gradient of C for that of `_filtered`; the columns' is added to `of_columns`."""
    taps = columns.view(len(columns), factors.layout.length, -1)
    change = factors.change.to(columns.dtype)
    into = None if of_columns is None else of_columns.view_as(taps)
    if change.dim() == 3:
        if into is not None:
            into += torch.einsum("cmr,tmc->trc", change, of_filtered)
        return torch.einsum("tmc,trc->cmr", of_filtered, taps).float()
    if into is not None:
        into.baddbmm_(change.T.expand(len(columns), -1, -1), of_filtered)
    return torch.bmm(of_filtered, taps.transpose(1, 2)).float().sum(0)


SMALL = 2**16
"""Numbers of a weight below which autograd alone is faster, and keeps little."""

FEW = {"cpu": (64, 128), "cuda": (1024, 1024)}
"""Up to how many positions of the output a layer goes the `mixed` way, forward and back, by kind of device. The figures
of the CPU are measured, those of CUDA follow from the bytes that are moved (docs/performance.md)."""

FEW_FOR_WIDE = {"cpu": (96, 512), "cuda": (1024, 1024)}
"""The same for tiles of layers with at least four times as many outputs as inputs, and for the way back of filters:
what α mixes there is small beside the weight."""


def mixed_ways(map_: Product | Convolution, factors: Factors, x: Tensor, weight: Tensor) -> tuple[bool, bool]:
    """Whether a layer goes the `mixed` way forward, and back."""
    if factors.extra is not None or not map_.mixes:  # Δα wants the whole gradient of the weight
        return False, False
    device, positions = x.device.type, map_.positions(x, weight)
    few, few_wide = FEW.get(device, (0, 0)), FEW_FOR_WIDE.get(device, (0, 0))
    filters, wide = factors.layout.is_filter, weight.shape[0] >= 4 * weight.shape[1]
    forward = few_wide[0] if wide and not filters else few[0]
    back = few_wide[1] if wide or filters else few[1]
    return positions <= forward, positions <= back


@dataclass(frozen=True)
class _Job:
    """What of a call needs no gradient: the map, the fixed parts of the factors, and the ways."""

    map: Product | Convolution
    layout: RowLayout
    coefficients: Tensor
    atoms: Tensor
    mixes_forward: bool
    mixes_backward: bool

    def factors(self, change: Tensor, extra: Tensor | None) -> Factors:
        extra = None if extra is None else extra.detach()
        return Factors(self.layout, self.coefficients, change.detach(), extra, self.atoms)


class _Adapted(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, change: Tensor, extra: Tensor | None, job: _Job
    ) -> Tensor:
        ctx.save_for_backward(x, weight, change, extra)
        ctx.job = job
        factors = job.factors(change, extra)
        if job.mixes_forward:
            return mixed_forward(job.map, factors, x, weight.to(x.dtype), bias)
        return job.map.forward(x, factors.added_to(weight).to(weight.dtype).to(x.dtype), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, change, extra = ctx.saved_tensors
        job: _Job = ctx.job
        factors = job.factors(change, extra)
        wants_x, _, wants_bias, *_ = ctx.needs_input_grad
        of_extra = None
        if job.mixes_backward:
            of_x, of_change = mixed_backward(job.map, factors, out, x, weight.to(x.dtype), wants_x)
        else:
            changed = factors.added_to(weight).to(weight.dtype).to(x.dtype) if wants_x else weight.to(x.dtype)
            of_x, of_weight = job.map.backward(out, x, changed, wants_x, True)
            assert of_weight is not None
            of_change, of_extra = factors.gradients(of_weight)
        return of_x, None, job.map.rows(out).sum(0) if wants_bias else None, of_change, of_extra, None


def adapted(
    map_: Product | Convolution, x: Tensor, weight: Tensor, bias: Tensor | None, factors: Factors | Refiltering
) -> Tensor:
    """The output of a layer with the weight W + ΔW, for training: gradients reach x, the bias and the factors.

    Args:
        x: of the type to compute in; bias: of the same.
        weight: W, frozen, of any floating type.
    """
    if weight.numel() < SMALL:
        return map_.recorded(x, factors.added_to(weight).to(weight.dtype).to(x.dtype), bias)
    if isinstance(factors, Refiltering):
        assert isinstance(map_, Convolution)
        return refiltered(map_, x, weight, bias, factors)
    ways = mixed_ways(map_, factors, x, weight)
    job = _Job(map_, factors.layout, factors.coefficients, factors.atoms, *ways)
    output: Tensor = _Adapted.apply(x, weight, bias, factors.change, factors.extra, job)
    return output
