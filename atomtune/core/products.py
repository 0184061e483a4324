"""Matrix products as training needs them: few rows against large matrices."""

import torch
import torch.nn.functional as F
from torch import Tensor

ENOUGH = 4_000_000
"""Multiplications from which oneDNN's product pays for the 20 µs of its call."""

_ONEDNN = torch.ops.mkldnn


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x·Wᵀ + b: (T, k) and (n, k) → (T, n). No gradient passes through.

    `weight` may be the transpose of a matrix. Large products of float32 on the CPU are oneDNN's, as `torch.compile`
    calls it: for 16 to 64 rows on two cores they take half to three quarters of the time of those behind `torch.mm`,
    which pack the large matrix anew at each call, and no more time for any number of rows.
    """
    large = x.shape[0] * weight.numel() >= ENOUGH
    if large and x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and _has_onednn():
        found: Tensor = _ONEDNN._linear_pointwise(x, weight, bias, "none", [], "")
        return found
    return F.linear(x, weight, bias)


def _has_onednn() -> bool:
    # it is not in every build, and torch.backends.mkldnn can switch it off
    backend = torch.backends.mkldnn
    return bool(backend.is_available() and backend.enabled) and hasattr(_ONEDNN, "_linear_pointwise")
