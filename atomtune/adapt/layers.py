"""Convolutions and linear layers whose weight is the base weight and the deltas that are attached to it."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.deltas import WeightDelta
from ..core.functional import updated_layer
from ..core.gemm import Convolution, Linear, Operation
from ..core.updates import Update


class AdaptedLayer(nn.Module):
    """What the adapted layers share; use the subclasses.

    Attributes:
        deltas: the attached deltas by name; their changes add up.
        scales: that of each, 1 for the change as trained, 0 for none.
        cached_weight: the adapted weight while `cached_weights` holds it; None otherwise.
    """

    weight: Tensor
    deltas: nn.ModuleDict
    scales: dict[str, float]
    cached_weight: Tensor | None
    _original: tuple[nn.Module]

    @classmethod
    def wrapping(cls, layer: nn.Module) -> Self:
        """An adapted layer that shares everything with `layer`, hooks included, and has no deltas yet."""
        adapted = cls.__new__(cls)
        adapted.__dict__.update(layer.__dict__)
        # own containers, shared contents: adding the deltas must not reach into the original layer
        for name in ("_parameters", "_buffers", "_modules"):
            adapted.__dict__[name] = dict(layer.__dict__[name])
        adapted.deltas = nn.ModuleDict()
        adapted.scales = {}
        adapted.cached_weight = None
        adapted._original = (layer,)  # in a tuple, so that it is no child module
        return adapted

    @property
    def original(self) -> nn.Module:
        """The layer this one stands for."""
        return self._original[0]

    def adapted_weight(self) -> Tensor:
        """W' = W + Σ scale·ΔW, added in float32 and then cast to the dtype of W; W itself where nothing is attached."""
        if self.cached_weight is not None:
            return self.cached_weight
        active = [(self.scales[name], delta) for name, delta in self.deltas.items() if self.scales[name] != 0.0]
        if not active:
            return self.weight
        with _without_autocast(self.weight.device.type):
            weight = self.weight.float()
            for scale, delta in active:
                assert isinstance(delta, WeightDelta)
                change = delta.delta_weight(self.weight)
                weight = weight + (change if scale == 1.0 else scale * change)
            return weight.to(self.weight.dtype)

    def weight_for(self, input: Tensor) -> Tensor:
        """`adapted_weight` in the type to compute in: the input's where weights are held in fewer bytes."""
        weight = self.adapted_weight()
        return weight if _autocasts(input.device.type) else weight.to(input.dtype)

    def update(self) -> Update | None:
        """ΔW as `core.functional` takes it; None where `adapted_weight` is used instead.

        That is: without gradients, so that what is generated is what will be merged; where several deltas are active
        or none, or one of another form; and where the base weight is trained too.
        """
        if not torch.is_grad_enabled() or self.cached_weight is not None or self.weight.requires_grad:
            return None
        active = [name for name, scale in self.scales.items() if scale != 0.0]
        if len(active) != 1:
            return None
        delta, scale = self.deltas[active[0]], self.scales[active[0]]
        assert isinstance(delta, WeightDelta)
        with _without_autocast(self.weight.device.type):
            update = delta.update()
            return None if update is None else update.scaled(scale)

    def _updated(self, op: Operation, input: Tensor, bias: Tensor | None, update: Update) -> Tensor:
        device = input.device.type
        if _autocasts(device):
            kind = torch.get_autocast_dtype(device)
            input, bias = input.to(kind), None if bias is None else bias.to(kind)
        with _without_autocast(device):
            return updated_layer(op, input, self.weight, bias, update)


class AdaptedConv2d(AdaptedLayer, nn.Conv2d):
    """A 2-D convolution with an adapted weight."""

    def forward(self, input: Tensor) -> Tensor:
        """(n, c_in, h, w) → (n, c_out, h', w')."""
        update = self.update() if input.dim() == 4 else None
        if update is None:
            return self._conv_forward(input, self.weight_for(input), self.bias)
        padding = self.padding
        if self.padding_mode != "zeros" or isinstance(padding, str):
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            input, padding = F.pad(input, self._reversed_padding_repeated_twice, mode=mode), (0, 0)
        return self._updated(Convolution(self.stride, padding, self.dilation, self.groups), input, self.bias, update)


class AdaptedLinear(AdaptedLayer, nn.Linear):
    """A linear layer with an adapted weight."""

    def forward(self, input: Tensor) -> Tensor:
        """(…, c_in) → (…, c_out)."""
        update = self.update() if input.dim() > 1 else None
        if update is None:
            return F.linear(input, self.weight_for(input), self.bias)
        return self._updated(_LINEAR, input, self.bias, update)


_LINEAR = Linear()


def _without_autocast(device_type: str) -> AbstractContextManager[Any]:
    # autocast would round α·ΔD, and the gradient of ΔD, to its own type
    return torch.autocast(device_type, enabled=False) if _autocasts(device_type) else nullcontext()


def _autocasts(device_type: str) -> bool:
    return torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)
