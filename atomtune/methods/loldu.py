"""LoLDU: train the diagonal of a triangular decomposition of the weights (Shi et al. 2024, arXiv 2410.13618).

W = P·L·D·U by LU decomposition with row exchanges, L and U of unit diagonal, D diagonal. Of the first r columns of P·L
and rows of U, W' = W + (alpha/r)·P·L_r·(σ·diag(z) − diag(z₀))·U_r: what z₀ leaves of W stays as a residual, whatever
z₀ is, so that W' = W at the start. Trained are z (r numbers) and σ (one), here as δz = z − z₀ and δσ = σ − 1.
"""

import math
import zlib

import torch
from torch import Tensor, nn

from ..core.deltas import WeightDelta
from .delta_method import DeltaMethod
from .specs import LoLDUSpec

_TINY = 1e-12


class LDUDelta(WeightDelta):
    """ΔW = scale·P·L_r·diag((1 + δσ)(z₀ + δz) − z₀)·U_r.

    Parameters: `delta_diagonal` (r), `delta_scale` (1) where σ is trained.

    Args:
        weight: W; its sides after the first are taken together.
        rank, start, fixed_scale: see `LoLDUSpec`; seed: of the random starts.
        scale: alpha/rank.
    """

    def __init__(
        self, weight: Tensor, rank: int, start: str, seed: int, scale: float, fixed_scale: bool = False
    ) -> None:
        super().__init__()
        lower, diagonal, upper = triangular(weight, rank)
        self.scale = scale
        self.shape = tuple(weight.shape)
        for name, tensor in (("lower", lower), ("upper", upper), ("start", starting(diagonal, start, seed))):
            self.register_buffer(name, tensor, persistent=False)
        self.delta_diagonal = nn.Parameter(torch.zeros_like(diagonal))
        self.delta_scale = None if fixed_scale else nn.Parameter(torch.zeros(1, device=weight.device))

    lower: Tensor
    upper: Tensor
    start: Tensor

    def delta_weight(self, weight: Tensor) -> Tensor:
        """ΔW in float32, (weight shape)."""
        moved: Tensor = self.delta_diagonal
        if self.delta_scale is not None:
            moved = moved + self.delta_scale * (self.start + moved)
        return ((self.lower * (self.scale * moved)) @ self.upper).view(self.shape)


def triangular(weight: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """P·L_r (rows, r), the diagonal of D (r) and U_r (r, columns) of a weight, float32.

    A pivot of zero leaves its row of U as it is.
    """
    permutation, lower, upper = torch.linalg.lu(weight.detach().float().flatten(1))
    lower, upper = (permutation @ lower)[:, :rank], upper[:rank]
    pivots = upper.diagonal().clone()
    diagonal = torch.where(pivots.abs() > _TINY, pivots, torch.ones_like(pivots))
    return lower.contiguous(), diagonal, (upper / diagonal.unsqueeze(1)).contiguous()


def starting(diagonal: Tensor, start: str, seed: int) -> Tensor:
    """z₀ for a diagonal of D, see `STARTS`."""
    if start == "decomposed":
        return diagonal
    if start in ("zeros", "ones"):
        return torch.full_like(diagonal, float(start == "ones"))
    if start == "constant":
        return diagonal.mean().expand_as(diagonal).clone()
    generator, mean = torch.Generator().manual_seed(seed), diagonal.mean()
    if start.endswith("normal"):
        noise = torch.randn(diagonal.shape, generator=generator).to(diagonal.device)
    else:
        noise = (torch.rand(diagonal.shape, generator=generator) * 2.0 - 1.0).to(diagonal.device)
    if start == "uniform":
        return noise * mean / 2
    if start == "normal":
        return mean + noise * diagonal.std(correction=0)
    return noise * diagonal.square().mean().sqrt() * (math.sqrt(3.0) if start == "wide-uniform" else 1.0)


def _rank(weight: Tensor, spec: LoLDUSpec) -> int:
    return min(spec.rank, weight.shape[0], math.prod(weight.shape[1:]))


def ldu_delta(name: str, weight: Tensor, spec: LoLDUSpec) -> LDUDelta:
    """The delta of a layer. Its random starts depend on the layer's name alone, so that a file needs no seed."""
    seed = zlib.crc32(name.removeprefix("text_model.").encode())  # a prefix that versions of transformers differ in
    return LDUDelta(weight, _rank(weight, spec), spec.start, seed, spec.alpha / spec.rank, spec.fixed_scale)


LOLDU = DeltaMethod("loldu", "the diagonal of an LDU decomposition", ldu_delta, LoLDUSpec, learning_rate=5e-4)
