"""The Muon optimiser (Jordan et al. 2024) for weight matrices: momentum whose update has all singular values near one.

On the miniature's autoencoder it needs about a third of the time AdamW does.
"""

from collections.abc import Iterable

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
    """The matrix with its singular values brought near one, by five Newton-Schulz steps in bfloat16."""
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)


def zero_branches(model: torch.nn.Module) -> None:
    """Start every residual branch of a diffusers model at zero, so that the model begins as its skeleton."""
    for module in model.modules():
        for last in (getattr(module, "conv2", None), getattr(module, "to_out", [None])[0]):
            if isinstance(last, (torch.nn.Conv2d, torch.nn.Linear)):
                torch.nn.init.zeros_(last.weight)
