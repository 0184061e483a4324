"""A layer with a changed weight, and the gradients of the change, without keeping anything large.

There are two ways for each direction, and both give the same numbers but for rounding. One makes W' = W + ΔW, uses it
and drops it; on the way back it makes W' again and reduces the gradient of the weight to those of the update at once.
The other never makes a weight: the update acts on the layer's input. It costs more by position of the output and less
by weight, and so is better where a large weight meets few positions. Autograd alone keeps W' and the gradient of every
weight in full.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import thresholds
from .gemm import Operation
from .updates import Update


@dataclass(frozen=True)
class _Call:
    """What of a call needs no gradient: the operation, the update without its trained tensors, and the ways."""

    op: Operation
    update: Update
    forward_needs_no_weight: bool
    backward_needs_no_weight: bool


class _UpdatedLayer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, call: _Call, x: Tensor, weight: Tensor, bias: Tensor | None, *trained: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(x, weight, *trained)
        ctx.call = call
        update = call.update.holding(*trained)
        if call.forward_needs_no_weight:
            return update.forward(call.op, x, weight.to(x.dtype), bias)
        return call.op.forward(x, update.added_to(weight).to(weight.dtype).to(x.dtype), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *trained = ctx.saved_tensors
        call: _Call = ctx.call
        update = call.update.holding(*trained)
        _, wants_x, _, wants_bias, *_ = ctx.needs_input_grad
        if call.backward_needs_no_weight:
            grad_x, gradients = update.backward(call.op, grad_y, x, weight.to(x.dtype), wants_x)
        else:
            updated = update.added_to(weight).to(weight.dtype) if wants_x else weight
            grad_x, grad_weight = call.op.backward(grad_y, x, updated.to(x.dtype), wants_x)
            gradients = update.gradients(weight, grad_weight)
        grad_bias = call.op.rows(grad_y).sum(0) if wants_bias else None
        return None, grad_x, None, grad_bias, *gradients


def updated_layer(op: Operation, x: Tensor, weight: Tensor, bias: Tensor | None, update: Update) -> Tensor:
    """The output of a layer with the weight W + ΔW, for training: gradients reach x, the bias and what `update` trains.

    Args:
        x: of the type to compute in; bias: of the same.
        weight: W, frozen, of any floating type.
    """
    if weight.numel() < thresholds.SMALL_WEIGHT:
        return op.by_autograd(x, update.added_to(weight).to(weight.dtype).to(x.dtype), bias)
    call = _Call(op, update.holding(), *update.needs_no_weight(op, x, weight))
    output: Tensor = _UpdatedLayer.apply(call, x, weight, bias, *update.trained)
    return output
