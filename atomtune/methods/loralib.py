"""LoRA as its authors' library has it for convolutions: the weight unfolded to a matrix, of rank r·k (microsoft/LoRA).

peft's LoRA of a k×k convolution is a k×k convolution to r channels and a 1×1 one back, of rank r. Here ΔW, as a matrix
of (c_out·k, c_in·k), is B·A of rank r·k. On linear layers and 1×1 convolutions both are the same (Hu et al. 2021, arXiv
2106.09685).
"""

import math
import zlib

import torch
from torch import Tensor, nn

from ..core.deltas import WeightDelta
from .delta_method import DeltaMethod
from .specs import RankSpec


class UnfoldedLoRADelta(WeightDelta):
    """ΔW = scale·B·A, read in the order of the weight.

    Parameters: `up` B (c_out·k_h, r·k_h), zero at the start, and `down` A (r·k_h, c_in/groups·k_w), uniform.

    Args:
        weight: W, for its shape and device.
        rank: r. scale: alpha/rank. seed: of A.
    """

    def __init__(self, weight: Tensor, rank: int, scale: float, seed: int) -> None:
        super().__init__()
        self.shape, self.scale = tuple(weight.shape), scale
        height, width = (*self.shape[2:], 1, 1)[:2]
        inner, across = rank * height, self.shape[1] * width
        self.up = nn.Parameter(torch.zeros(self.shape[0] * height, inner, device=weight.device))
        down = torch.empty(inner, across)
        if not weight.is_meta:
            # that of nn.Linear, as in loralib
            down.uniform_(-1.0, 1.0, generator=torch.Generator().manual_seed(seed)).div_(math.sqrt(across))
        self.down = nn.Parameter(down.to(weight.device))

    def delta_weight(self, weight: Tensor) -> Tensor:
        """ΔW in float32, (weight shape)."""
        return self.scale * (self.up @ self.down).view(self.shape)


def unfolded_lora(name: str, weight: Tensor, spec: RankSpec) -> UnfoldedLoRADelta:
    """The delta of a layer. A at the start depends on the layer's name alone."""
    seed = zlib.crc32(name.removeprefix("text_model.").encode())  # a prefix that versions of transformers differ in
    return UnfoldedLoRADelta(weight, spec.rank, spec.alpha / spec.rank, seed)


LORALIB = DeltaMethod("loralib", "a product of two matrices, of rank r·k for convolutions", unfolded_lora, RankSpec)
