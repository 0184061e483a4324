"""What the layers of a model see while it generates: the second moment of their inputs, channel by channel."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core.precision import to_float64
from ..runtime.progress import Events
from .factors import Layer
from .image_difference import images_of

_RIDGE = 1e-3
"""Part of the mean eigenvalue that is added to all: what was not seen in a few images may be seen in others."""


class _Moment:
    """Σ xxᵀ of one input, and how many x there were."""

    def __init__(self, channels: int, device: torch.device) -> None:
        self.sum = torch.zeros(channels, channels, device=device)
        self.count = 0
        self.last: Tensor | None = None

    def add(self, rows: Tensor) -> None:
        self.sum.addmm_(rows.T, rows)
        self.count += len(rows)


class _Watch:
    """Forward hooks on layers. Layers that are given the very same tensor, as the projections of one attention are,
    share one moment: it is most of what SDXL has.
    """

    def __init__(self, pipeline: Any, layers: Sequence[Layer]) -> None:
        self.moments: dict[Layer, _Moment] = {}
        self._newest: _Moment | None = None
        self._handles = [
            getattr(pipeline, part).get_submodule(name).register_forward_pre_hook(self._hook((part, name)))
            for part, name in layers
        ]

    def _hook(self, layer: Layer) -> Any:
        def see(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            (x,) = inputs[:1]
            newest = self._newest
            if layer not in self.moments:
                shared = newest is not None and newest.last is x
                channels = x.shape[1] if isinstance(module, nn.Conv2d) else x.shape[-1]
                self.moments[layer] = newest if shared and newest is not None else _Moment(channels, x.device)
            moment = self.moments[layer]
            if moment.last is not x:
                if newest is not None:
                    newest.last = None
                rows = x.movedim(1, -1) if isinstance(module, nn.Conv2d) else x
                moment.add(rows.reshape(-1, rows.shape[-1]).float())
                moment.last, self._newest = x, moment

        return see

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        if self._newest is not None:
            self._newest.last = None


@torch.no_grad()
def second_moments(
    pipeline: Any, layers: Sequence[Layer], wanted: Sequence[tuple[str, int]], events: Events
) -> dict[Layer, Tensor]:
    """E[xxᵀ] over the input channels of each layer, (c, c) in float32, while the pipeline generates.

    Positions of images, tokens, denoising steps and both halves of the guidance count alike. Layers that were given
    nothing are left out.

    Args:
        wanted: prompts and seeds.
    """
    watch = _Watch(pipeline, layers)
    try:
        images_of(pipeline, wanted, events)
    finally:
        watch.remove()
    means = {id(moment): moment.sum / moment.count for moment in watch.moments.values() if moment.count}
    return {layer: means[id(moment)] for layer, moment in watch.moments.items() if id(moment) in means}


def roots_of(moments: dict[Layer, Tensor]) -> dict[Layer, Tensor]:
    """The Cholesky factor L of each moment, with a small part of its trace added to the diagonal; (c, c) float32.

    A layer that saw nothing but zeros has none.
    """
    done: dict[int, Tensor] = {}
    found = {}
    for layer, moment in moments.items():
        mean = float(moment.diagonal().mean())
        if not mean > 0:
            continue
        if id(moment) not in done:
            whole = to_float64(moment)
            whole = whole + _RIDGE * mean * torch.eye(len(whole), dtype=whole.dtype, device=whole.device)
            done[id(moment)] = torch.linalg.cholesky(whole).float().to(moment.device)
        found[layer] = done[id(moment)]
    return found
