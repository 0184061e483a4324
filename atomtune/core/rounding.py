"""Rounding a weight so that the layer's output changes least."""

import torch
from torch import Tensor

from .precision import to_float64

_BLOCK = 64
"""Channels that are rounded before the others hear of it: one product of matrices is faster than many of vectors."""


@torch.no_grad()
def rounded_for(weight: Tensor, root: Tensor, dtype: torch.dtype) -> Tensor:
    """Round a weight to a type, with less error in what the layer puts out than rounding to the nearest has.

    One input channel after the other is rounded to the nearest, and those that follow take over what that changes in
    the output, as far as their inputs go along with its: ‖(W − W')L‖ is made small, not ‖W − W'‖ (optimal brain
    quantization, Frantar et al. 2022, arXiv 2210.17323). Rounding to the nearest is kept where that is no better.

    Args:
        weight: (p, c·t) or (p, c, *taps), finite.
        root: (c, c), lower triangular with a diagonal above 0: L, LLᵀ being the second moment of the inputs.
        dtype: with fewer digits than float32.

    Returns:
        The rounded weight in float32, in the weight's shape.
    """
    rows = weight.float().flatten(1).unflatten(1, (len(root), -1)).movedim(1, 0)
    shape, rows = rows.shape, rows.flatten(1)
    lower = to_float64(root)
    moment = lower @ lower.T
    order = moment.diagonal().argsort(descending=True)  # the channels that count most are rounded while all can follow
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moment[order][:, order]))
    follow = torch.linalg.cholesky(inverse, upper=True).float().to(rows.device)
    left = rows[order.to(rows.device)].clone()
    for start in range(0, len(left), _BLOCK):
        end = min(start + _BLOCK, len(left))
        errors = torch.empty_like(left[start:end])
        for i in range(start, end):
            row = left[i].to(dtype).float()
            errors[i - start] = (left[i] - row) / follow[i, i]
            left[i] = row
            left[i + 1 : end] -= follow[i, i + 1 : end, None] * errors[i - start]
        left[end:] -= follow[start:end, end:].T @ errors
    found, nearest = torch.empty_like(left), rows.to(dtype).float()
    found[order.to(rows.device)] = left
    seen = root.to(rows).T
    if not torch.linalg.vector_norm(seen @ (found - rows)) < torch.linalg.vector_norm(seen @ (nearest - rows)):
        found = nearest
    return found.reshape(shape).movedim(0, 1).reshape(weight.shape)
