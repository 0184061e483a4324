"""Filters that are taken through one small matrix: W' = W·(I + B), what a change of atoms is where λ is 0.

Coefficients without a penalty are one product with the weight, α = X·P (`sparse.linear_map`), so that ΔW = α·C is
X·(P·C) and needs no coefficients: every filter, a row of r taps, meets the same matrix B = P·C, or one of its input
channel's own.
The gradient of B needs no gradient of the weight either: what Wᵀ makes of the output's gradient, which the input's
gradient is made of, holds all that B has to know. So a step has two large products where `core.adapted` has three.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .factors import filters_of, weight_of_filters
from .layout import RowLayout
from .maps import Convolution
from .products import product


@dataclass(frozen=True)
class Refiltering:
    """ΔW = W·B for filters.

    Attributes:
        matrix: B, (r, r), or (c_in/groups, r, r) where every input channel has its own.
    """

    layout: RowLayout
    matrix: Tensor

    def scaled(self, scale: float) -> "Refiltering":
        """scale·ΔW."""
        return self if scale == 1.0 else replace(self, matrix=scale * self.matrix)

    def update(self, weight: Tensor) -> Tensor:
        """ΔW in float32, (weight shape)."""
        filters = filters_of(self.layout, weight.float())
        if self.matrix.dim() == 3:
            return weight_of_filters(self.layout, torch.einsum("ckr,okc->orc", self.matrix, filters))
        return weight_of_filters(self.layout, torch.bmm(self.matrix.T.expand(len(filters), -1, -1), filters))

    def added_to(self, weight: Tensor) -> Tensor:
        """W + ΔW in float32, (weight shape)."""
        if self.matrix.dim() == 3:
            return self.update(weight).add_(weight)
        filters = filters_of(self.layout, weight.float())
        matrices = self.matrix.T.expand(len(filters), -1, -1)
        return weight_of_filters(self.layout, torch.baddbmm(filters, matrices, filters))

    def gradient(self, weight: Tensor, of_weight: Tensor) -> Tensor:
        """That of B for one of W', (weight shape)."""
        filters, of_filters = (filters_of(self.layout, tensor.float()) for tensor in (weight, of_weight))
        if self.matrix.dim() == 3:
            return torch.einsum("okc,orc->ckr", filters, of_filters)
        return torch.bmm(filters, of_filters.transpose(1, 2)).sum(0)

    def before(self, columns: Tensor) -> Tensor:
        """Columns (T, r·c_in) as W has to meet them, so that W' has not to be made: (I + B)·x."""
        taps, matrix = columns.view(len(columns), self.layout.length, -1), self.matrix.to(columns.dtype)
        if matrix.dim() == 3:
            return (taps + torch.einsum("ckr,trc->tkc", matrix, taps)).flatten(1)
        return torch.baddbmm(taps, matrix.expand(len(taps), -1, -1), taps).flatten(1)

    def back(self, of_before: Tensor) -> Tensor:
        """The adjoint of `before` in the columns."""
        taps, matrix = of_before.view(len(of_before), self.layout.length, -1), self.matrix.to(of_before.dtype)
        if matrix.dim() == 3:
            return (taps + torch.einsum("ckr,tkc->trc", matrix, taps)).flatten(1)
        return torch.baddbmm(taps, matrix.T.expand(len(taps), -1, -1), taps).flatten(1)

    def gradient_of_before(self, columns: Tensor, of_before: Tensor) -> Tensor:
        """The adjoint of `before` in B, float32."""
        taps, of_taps = (tensor.view(len(columns), self.layout.length, -1) for tensor in (columns, of_before))
        if self.matrix.dim() == 3:
            return torch.einsum("tkc,trc->ckr", of_taps, taps).float()
        return torch.bmm(of_taps, taps.transpose(1, 2)).float().sum(0)


FEW = {"cpu": (512, 1 << 30), "cuda": (1024, 1024)}
"""Up to how many positions of the output no weight is made, forward and back, by kind of device. The figures of the CPU
are measured, those of CUDA follow from the bytes that are moved (docs/performance.md)."""

BY_CHANNEL = (1, 2)
"""The same by output channel where every input channel has a matrix of its own. Those cost by position what they do by
output channel of a weight, and many times what one matrix for all does."""


@dataclass(frozen=True)
class _Job:
    """What of a call needs no gradient: the map, the layout, and whether no weight is made."""

    map: Convolution
    layout: RowLayout
    forward: bool
    backward: bool


class _Refiltered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, matrix: Tensor, job: _Job) -> Tensor:
        ctx.save_for_backward(x, weight, matrix)
        ctx.job = job
        change = Refiltering(job.layout, matrix.detach())
        if job.forward:
            weight = weight.to(x.dtype)
            columns = change.before(job.map.columns(x, weight))
            return job.map.from_rows(product(columns, job.map.matrix(weight), bias), x, weight)
        return job.map.forward(x, change.added_to(weight).to(weight.dtype).to(x.dtype), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, matrix = ctx.saved_tensors
        job: _Job = ctx.job
        change = Refiltering(job.layout, matrix.detach())
        wants_x, _, wants_bias, *_ = ctx.needs_input_grad
        of_x: Tensor | None = None
        if job.backward:
            cast = weight.to(x.dtype)
            of_before = product(job.map.rows(out), job.map.matrix(cast).T)
            of_matrix = change.gradient_of_before(job.map.columns(x, cast), of_before)
            of_x = job.map.from_columns(change.back(of_before), x, cast) if wants_x else None
        else:
            changed = change.added_to(weight).to(weight.dtype).to(x.dtype) if wants_x else weight.to(x.dtype)
            of_x, of_weight = job.map.backward(out, x, changed, wants_x, True)
            assert of_weight is not None
            of_matrix = change.gradient(weight, of_weight)
        return of_x, None, job.map.rows(out).sum(0) if wants_bias else None, of_matrix, None


def refiltered(map_: Convolution, x: Tensor, weight: Tensor, bias: Tensor | None, change: Refiltering) -> Tensor:
    """The output of a convolution with the weight W·(I + B), for training; as `adapted.adapted`."""
    forward, backward = FEW.get(x.device.type, (0, 0)) if map_.mixes else (0, 0)
    if change.matrix.dim() == 3:
        forward = min(forward, BY_CHANNEL[0] * len(weight))
        backward = min(backward, BY_CHANNEL[1] * len(weight))
    positions = map_.positions(x, weight)
    job = _Job(map_, change.layout, positions <= forward, positions <= backward)
    output: Tensor = _Refiltered.apply(x, weight, bias, change.matrix, job)
    return output
