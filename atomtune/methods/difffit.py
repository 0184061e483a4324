"""DiffFit: train biases, norms and a scale of each block's output (Xie et al. 2023, arXiv 2304.06648).

A block here is what adds to the residual stream: an attention, a feed-forward net, a residual block. The layer that
ends it has its output multiplied by γ = 1 + δ, one δ a channel, zero at the start; merging multiplies that layer's
weight and bias.
"""

import fnmatch
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..adapt import adaptable_layers
from ..core.decompose import Decomposition
from .base import LayerPlan, check_all_used, halved, held
from .in_place import CHANGE, InPlaceMethod, InPlaceTuning, chosen_modules
from .select import group_of, kind_of, weight_of
from .specs import InPlaceSpec, Spec

BLOCK_ENDS = ("*.to_out.0", "*.ff.net.2", "*resnets.*.conv2", "*.self_attn.out_proj", "*.mlp.fc2")
"""The layers that end a block: of UNets, and of CLIP's text encoders."""

_SCALE = "scale_change"


def _is_bias_or_norm(module: nn.Module, name: str) -> bool:
    return name == "bias" or isinstance(module, nn.GroupNorm | nn.LayerNorm)


_IN_PLACE = InPlaceMethod("difffit", "", 1e-3, _is_bias_or_norm)


class DiffFitTuning:
    """A `Tuning` of biases, norms and scales; the scales are parameters of the layers whose output they multiply."""

    def __init__(self, model: nn.Module, spec: Spec) -> None:
        self._in_place = InPlaceTuning(_IN_PLACE.chosen(model, spec))
        self._scaled = block_ends(model, spec)
        self._scales: dict[str, nn.Parameter] = {}
        self._hooks = []
        self._scale = 1.0
        self._bias_changes: dict[nn.Module, Tensor] = {}
        for name, layer in self._scaled.items():
            scale = nn.Parameter(torch.zeros(_channels(layer), device=weight_of(layer).device))
            layer.register_parameter(_SCALE, scale)
            self._scales[name] = scale
            self._hooks.append(layer.register_forward_hook(self._scale_output))
        self.parameters = {**self._in_place.parameters, **{f"{n}.{_SCALE}": p for n, p in self._scales.items()}}

    def export(self) -> dict[str, Tensor]:
        """See `Tuning.export`."""
        return self._in_place.export() | halved({f"{name}.{_SCALE}": scale for name, scale in self._scales.items()})

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Startable.load`."""
        self._in_place.load(tensors)
        for name, scale in self._scales.items():
            scale.copy_(held(tensors, f"{name}.{_SCALE}", tuple(scale.shape)))

    def detach(self) -> None:
        """See `Tuning.detach`."""
        self._in_place.detach()
        for hook in self._hooks:
            hook.remove()
        for layer in self._scaled.values():
            del layer._parameters[_SCALE]

    def set_scale(self, scale: float) -> None:
        """See `Tuning.set_scale`."""
        self._in_place.set_scale(scale)
        self._scale = scale
        changes = self._in_place.changes() if scale != 1.0 else {}
        self._bias_changes = {
            layer: changes[f"{n}.bias"] for n, layer in self._scaled.items() if f"{n}.bias" in changes
        }

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        """See `Switchable`."""
        with self._in_place.switched_off():
            self._scale = 0.0
            try:
                yield
            finally:
                self._scale = 1.0

    def _scale_output(self, layer: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        def by_channel(values: Tensor) -> Tensor:
            return (values.view(-1, 1, 1) if isinstance(layer, nn.Conv2d) else values).to(output)

        change = layer.get_parameter(_SCALE)
        output = output * by_channel(1.0 + self._scale * change)
        if (moved := self._bias_changes.get(layer)) is None:
            return output
        # ΔW is the change of γ·(b + Δb), not of its factors
        return output + by_channel(self._scale * (1.0 - self._scale) * change * moved.to(change.device))


class DiffFit:
    """The method."""

    name = "difffit"
    title = "biases, norms, and a scale of each block's output"
    learning_rate = 1e-3
    spec: type[Spec] = InPlaceSpec

    def plan(self, model: nn.Module, spec: Any) -> list[LayerPlan]:
        """See `Method.plan`."""
        plans = {plan.name: plan for plan in _IN_PLACE.plan(model, spec)}
        for name, layer in block_ends(model, spec).items():
            count = _channels(layer) + (plans[name].parameters if name in plans else 0)
            plans[name] = LayerPlan(name, group_of(name), kind_of(layer), count)
        return list(plans.values())

    def attach(
        self, model: nn.Module, spec: Any, *, seed: int = 0, decomposition: Mapping[str, Decomposition] | None = None
    ) -> DiffFitTuning:
        """See `Method.attach`."""
        return DiffFitTuning(model, spec)

    @torch.no_grad()
    def changes(self, model: nn.Module, spec: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Method.changes`: W' = γ·W and b' = γ·(b + Δb) where a layer is scaled."""
        ends = block_ends(model, spec)
        keys = {f"{name}.{_SCALE}" for name in ends}
        found = _IN_PLACE.changes(model, spec, {key: value for key, value in tensors.items() if key not in keys})
        for name, layer in ends.items():
            weight = weight_of(layer)
            scale = held(tensors, f"{name}.{_SCALE}", (_channels(layer),)).float().to(weight.device)
            found[f"{name}.weight"] = scale.view(-1, *[1] * (weight.dim() - 1)) * weight.float()
            if layer.bias is not None:
                assert isinstance(layer.bias, Tensor)
                bias = f"{name}.bias"
                moved = found[bias].to(weight.device)
                found[bias] = moved + scale * (layer.bias.float() + moved)
        check_all_used(tensors, keys | {key for key in tensors if key.endswith(f".{CHANGE}")})
        return found


def block_ends(model: nn.Module, spec: Spec) -> dict[str, nn.Module]:
    """The layers that end a block, among those that the spec names."""
    chosen = {name for name, _ in chosen_modules(model, spec.layers)}
    return {
        name: layer
        for name, layer in adaptable_layers(model).items()
        if name in chosen and any(fnmatch.fnmatchcase(name, pattern) for pattern in BLOCK_ENDS)
    }


def _channels(layer: nn.Module) -> int:
    return int(weight_of(layer).shape[0])


DIFFFIT = DiffFit()
