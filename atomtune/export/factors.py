"""The two factors of each layer of a LoRA: of least loss by what the layers see, or by numbers alone."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ..core.low_rank import low_rank, through, weighted_low_rank
from ..core.precision import all_finite
from ..errors import AtomtuneError
from ..runtime.progress import Events
from .change import TotalChange

Layer = tuple[str, str]
"""Part of the pipeline, and dotted name of a layer in it."""

_NOTHING = 1e-6
"""Directions with less than this part of the strongest one are noise of float32; a layer gets no rank for them."""


@dataclass(frozen=True)
class Factors:
    """One layer's ΔW ≈ alpha/r · up·down.

    Attributes:
        up, down: (c_out, r) and (r, c_in·k²) in float32, on the CPU, the strongest direction first.
        shape: of ΔW.
        alpha: r while nothing is cut.
        gains: (r,), what each direction takes off the loss of the layer, for what it costs: for sharing ranks out
            between layers; None where no weight was given to what the layers see.
    """

    up: Tensor
    down: Tensor
    shape: torch.Size
    alpha: int
    gains: Tensor | None = None

    @property
    def rank(self) -> int:
        """The number of directions."""
        return len(self.down)

    @property
    def cost(self) -> int:
        """Numbers that a direction takes."""
        return len(self.up) + self.down.shape[1]

    def cut(self, rank: int, alpha: int, dtype: torch.dtype) -> Self:
        """Only the strongest directions, so that they count alike under another alpha, and rounded to a type.

        Raises AtomtuneError where a number is not finite in it.
        """
        kept = min(rank, self.rank)
        both = math.sqrt(kept / alpha)
        up, down = (both * self.up[:, :kept]).to(dtype), (both * self.down[:kept]).to(dtype)
        if not (all_finite(up) and all_finite(down)):
            raise AtomtuneError(f"a factor is not finite in {dtype}", "use --precision fp32, or a lower scale")
        return replace(self, up=up, down=down, alpha=alpha)

    def change(self) -> Tensor:
        """What the factors make of it, in float32 and in ΔW's shape."""
        return (self.alpha / self.rank * (self.up.float() @ self.down.float())).reshape(self.shape)

    def tensors(self, has_taps: bool) -> tuple[Tensor, Tensor]:
        """Down and up as files have them: with the two sides of a kernel for convolutions, 1 × 1 for `up`."""
        if not has_taps:
            return self.down, self.up
        taps = self.shape[2:] if len(self.shape) == 4 else (1, 1)
        return self.down.reshape(self.rank, -1, *taps), self.up[:, :, None, None]


@torch.no_grad()
def factorize(
    total: TotalChange,
    layers: list[Layer],
    rank: int,
    roots: Mapping[Layer, Tensor],
    device: torch.device,
    events: Events,
) -> dict[Layer, Factors]:
    """The factors of every layer that changes, of this rank or less where less is all that there is.

    Args:
        roots: L of the layers for `weighted_low_rank`; those without one lose the least by numbers.
    """
    found = {}
    events.begin("factors", len(layers))
    for layer in layers:
        change = total.of(layer[0], f"{layer[1]}.weight")
        matrix = change.flatten(1).to(device)
        if bool(matrix.any()):
            root = roots.get(layer)
            up, down = low_rank(matrix, rank) if root is None else weighted_low_rank(matrix, root.to(device), rank)
            strength = torch.linalg.vector_norm(up, dim=0) * torch.linalg.vector_norm(down, dim=1)
            kept = strength > _NOTHING * strength.max()
            up, down = up[:, kept], down[kept]
            gains = None if root is None else _gains(up, down, total.weight(layer).to(device), root.to(device))
            found[layer] = Factors(up.cpu(), down.cpu(), change.shape, int(kept.sum()), gains)
        events.advance()
    events.end()
    if not found:
        raise nothing_changes()
    return found


def _gains(up: Tensor, down: Tensor, weight: Tensor, root: Tensor) -> Tensor:
    """See `Factors.gains`, on the CPU.

    Directions are orthogonal in what is seen of them, so each takes |up|²·|down·L|² off the layer's loss. How much of
    an image hangs on a layer nobody knows without generating it for each; as a share of its own change a layer counts
    too little where it changes much, and by what it changes too much. Between the two lies what kept the images of two
    of pocket's concepts nearest (docs/export.md).
    """
    taken = up.square().sum(dim=0) * through(down, root).square().sum(dim=1)
    own, whole = taken.sum(), through(weight.float().flatten(1), root).square().sum()
    return (taken / (own**0.75 * whole**0.125) / (len(up) + down.shape[1])).cpu()


def nothing_changes() -> AtomtuneError:
    """The error of an export that would hold nothing."""
    return AtomtuneError("these atoms change nothing", "train them for longer, or give another scale")


def rungs(highest: int) -> Iterator[int]:
    """The ranks that are tried: 1, 2, 3, 4, 6, 8, 12, 16, 24, … and the highest."""
    step = 1
    while step < highest:
        yield step
        if step > 1 and step * 3 // 2 < highest:
            yield step * 3 // 2
        step *= 2
    yield highest
