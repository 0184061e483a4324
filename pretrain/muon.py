"""The Muon optimiser (Jordan et al. 2024): momentum whose update of a matrix has all singular values near one."""

from collections.abc import Iterable
from functools import cache

import torch
from torch import Tensor


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for weights of two or more dimensions; a convolution counts as (c_out, c_in * k * k)."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                direction = orthogonal(weight.grad.lerp(momentum, group["momentum"]).flatten(1))
                stretch = max(1.0, direction.shape[0] / direction.shape[1]) ** 0.5
                weight.add_(direction.view_as(weight), alpha=-group["lr"] * stretch)


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix with its singular values brought near one, by five Newton-Schulz steps.

    The steps are done on the Gram matrix of the shorter side, which is several times smaller than the weight itself;
    the one product with the weight is rounded to bfloat16 where that is fast: no more is needed.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    gram = x @ x.T
    scale = 1 / (gram.trace().sqrt() + 1e-7)
    gram = gram * scale**2
    factor = torch.eye(len(gram), dtype=gram.dtype, device=gram.device) * scale
    for _ in range(5):
        step = torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        step.diagonal().add_(3.4445)
        factor = step @ factor
        gram = step @ gram @ step
    y = (factor.bfloat16() @ x.bfloat16()).float() if fast_bfloat16(x.device) else factor @ x
    return y.T if tall else y


@cache
def fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware."""
    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()


def zero_branches(model: torch.nn.Module) -> None:
    """Start every residual branch of a diffusers model at zero, so that the model begins as its skeleton."""
    for module in model.modules():
        for last in (getattr(module, "conv2", None), getattr(module, "to_out", [None])[0]):
            if isinstance(last, (torch.nn.Conv2d, torch.nn.Linear)):
                torch.nn.init.zeros_(last.weight)
