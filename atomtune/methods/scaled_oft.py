"""OFT with a scale of each output, as peft had it until 0.13: W' = diag(1 + s)·W·R (Qiu et al. 2023, arXiv 2306.07280).

R is block-diagonal over a layer's inputs. Every block is trained as a full matrix, of which the skew-symmetric part Q
counts: R = (I + Q)⁻¹(I − Q), a rotation, by the Cayley transform. This is the paper's OFT on Stable Diffusion, and with
a bound its COFT.
"""

import torch
from torch import Tensor, nn

from ..core.deltas import WeightDelta
from ..core.layout import largest_divisor
from .delta_method import DeltaMethod
from .oft import rotated
from .specs import ScaledOFTSpec


class ScaledOFTDelta(WeightDelta):
    """ΔW = diag(1 + s)·W·R − W.

    Parameters: `blocks` (n, b, b) and `scales` s (c_out), both zero at the start. n·b are the numbers of an output's
    row of W, its sides after the first taken together; n is the largest divisor of these up to the number asked for.

    Args:
        weight: W, for its shape and device.
        count: blocks that are asked for.
        eps: the norm of a block's Q is kept at eps/√n at most; 0 for no bound.
    """

    def __init__(self, weight: Tensor, count: int, eps: float) -> None:
        super().__init__()
        across = weight[0].numel()
        blocks = largest_divisor(across, count)
        side = across // blocks
        self.bound = eps / blocks**0.5
        self.blocks = nn.Parameter(torch.zeros(blocks, side, side, device=weight.device))
        self.scales = nn.Parameter(torch.zeros(len(weight), device=weight.device))

    def turns(self) -> Tensor:
        """The blocks of R, (n, b, b)."""
        skew = 0.5 * (self.blocks - self.blocks.mT)
        if self.bound > 0.0:
            skew = skew * (self.bound / torch.linalg.matrix_norm(skew).clamp(min=self.bound)).view(-1, 1, 1)
        unit = torch.eye(skew.shape[-1], device=skew.device)
        return torch.linalg.solve(unit + skew, unit - skew)

    def delta_weight(self, weight: Tensor) -> Tensor:
        """ΔW in float32, (weight shape)."""
        weight = weight.float()
        turned = rotated(weight, self.turns())
        return turned - weight + self.scales.view(-1, *[1] * (weight.dim() - 1)) * turned


def scaled_oft(_name: str, weight: Tensor, spec: ScaledOFTSpec) -> ScaledOFTDelta:
    """The delta of a layer."""
    return ScaledOFTDelta(weight, spec.blocks, spec.eps)


SCALED_OFT = DeltaMethod("oft-scaled", "a rotation of the inputs and a scale of each output", scaled_oft, ScaledOFTSpec)
