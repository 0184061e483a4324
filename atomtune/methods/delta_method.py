"""Methods that are a delta a layer: all that remains to write is the function that makes one."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..core.decompose import Decomposition
from ..core.deltas import WeightDelta
from ..core.precision import all_finite
from ..errors import AtomtuneError
from .attached import AttachedDeltas
from .base import ComputedChanges, LayerPlan, check_all_used, halved, held
from .select import group_of, kind_of, select_layers, weight_of
from .specs import Spec

Create = Callable[[str, Tensor, Any], WeightDelta]
"""The layer's dotted name, its weight and the spec → its delta. The same arguments give the same delta."""


class DeltaMethod:
    """A `Method` whose deltas a function makes; see `registry.register`.

    Its file holds the deltas' parameters, as "LAYER.PARAMETER".
    """

    def __init__(
        self, name: str, title: str, create: Create, spec: type[Spec] = Spec, learning_rate: float = 1e-3
    ) -> None:
        self.name = name
        self.title = title
        self.create = create
        self.spec = spec
        self.learning_rate = learning_rate

    def plan(self, model: nn.Module, spec: Any) -> list[LayerPlan]:
        """See `Method.plan`."""
        plans = []
        for name, layer in select_layers(model, spec.layers).items():
            delta = self.create(name, weight_of(layer).detach().to("meta"), spec)
            count = sum(parameter.numel() for parameter in delta.trainable().values())
            plans.append(LayerPlan(name, group_of(name), kind_of(layer), count))
        return plans

    def attach(
        self, model: nn.Module, spec: Any, *, seed: int = 0, decomposition: Mapping[str, Decomposition] | None = None
    ) -> AttachedDeltas:
        """See `Method.attach`. A file has no place for a seed, so none is used.

        Raises AtomtuneError where a delta is not zero at the start.
        """
        deltas = {name: self._delta(name, layer, spec) for name, layer in select_layers(model, spec.layers).items()}
        with torch.no_grad():
            for name, delta in deltas.items():
                if bool(delta.delta_weight(weight_of(model.get_submodule(name))).any()):
                    raise AtomtuneError(f"the change of {name} is not zero at the start", f"{self.name} must see to it")
        return AttachedDeltas(model, deltas, _export, _load)

    def changes(self, model: nn.Module, spec: Any, tensors: Mapping[str, Tensor]) -> ComputedChanges:
        """See `Method.changes`: the deltas are made again from the base weights."""
        own: dict[str, dict[str, Tensor]] = {}
        layers = select_layers(model, spec.layers)
        for name, layer in layers.items():
            expected = self.create(name, weight_of(layer).detach().to("meta"), spec).trainable()
            own[name] = {key: held(tensors, f"{name}.{key}", tuple(p.shape)) for key, p in expected.items()}
        check_all_used(tensors, {f"{name}.{key}" for name, held_ in own.items() for key in held_})
        return ComputedChanges(
            {f"{name}.weight": partial(self._change, name, layer, spec, own[name]) for name, layer in layers.items()}
        )

    def _change(self, name: str, layer: nn.Module, spec: Any, own: Mapping[str, Tensor]) -> Tensor:
        delta = self._delta(name, layer, spec)
        for key, parameter in delta.trainable().items():
            parameter.copy_(own[key])
        return delta.delta_weight(weight_of(layer)).float()

    def _delta(self, name: str, layer: nn.Module, spec: Any) -> WeightDelta:
        weight = weight_of(layer).detach()
        if not all_finite(weight):
            raise AtomtuneError(f"{name} holds values that are not finite", "the base model's file may be damaged")
        return self.create(name, weight, spec).to(weight.device)


def _export(deltas: Mapping[str, WeightDelta]) -> dict[str, Tensor]:
    return halved({f"{name}.{key}": p for name, delta in deltas.items() for key, p in delta.trainable().items()})


@torch.no_grad()
def _load(deltas: Mapping[str, WeightDelta], tensors: Mapping[str, Tensor]) -> None:
    for name, delta in deltas.items():
        for key, parameter in delta.trainable().items():
            parameter.copy_(held(tensors, f"{name}.{key}", tuple(parameter.shape)))
