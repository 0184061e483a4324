"""Two changes of the same weights, compared layer by layer."""

import math

import torch
from torch import Tensor

from .result import Quality


class Comparison:
    """Sums of squares over layers that are added one by one."""

    def __init__(self) -> None:
        self._plain: dict[str, tuple[float, float]] = {}
        self._weighted: dict[str, tuple[float, float]] = {}

    @torch.no_grad()
    def add(self, name: str, change: Tensor, other: Tensor, root: Tensor | None = None) -> None:
        """One layer: ΔW, what there is in its place, and L, the root of the second moment of its input."""
        lost = change - other
        self._plain[name] = square(change), square(lost)
        if root is not None:
            self._weighted[name] = square(_seen(change, root)), square(_seen(lost, root))

    def quality(self, layers: int, psnr: float | None = None) -> Quality:
        """What it amounts to."""
        errors = {name: math.sqrt(lost / size) for name, (size, lost) in self._plain.items() if size > 0}
        worst = max(errors, key=lambda name: errors[name], default="")
        return Quality(
            layers=layers,
            relative_error=_error(self._plain),
            worst_layer=worst,
            worst_error=errors.get(worst, 0.0),
            weighted_error=_error(self._weighted) if self._weighted else None,
            psnr=psnr,
        )


def square(tensor: Tensor) -> float:
    """‖x‖², summed in float64."""
    return float(torch.linalg.vector_norm(tensor.cpu(), dtype=torch.float64)) ** 2


def _seen(change: Tensor, root: Tensor) -> Tensor:
    taps = change.flatten(1).unflatten(1, (len(root), -1))
    return torch.einsum("pct,cd->pdt", taps, root.to(taps.device))


def _error(pairs: dict[str, tuple[float, float]]) -> float:
    size = sum(size for size, _ in pairs.values())
    return math.sqrt(sum(lost for _, lost in pairs.values()) / size) if size > 0 else 0.0
