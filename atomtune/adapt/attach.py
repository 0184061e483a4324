"""Attach deltas to a model; scale, swap and detach them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..core.deltas import WeightDelta
from .layers import AdaptedConv2d, AdaptedLayer, AdaptedLinear
from .select import adaptable_layers

DEFAULT = "default"


def adapted_layers(model: nn.Module) -> dict[str, AdaptedLayer]:
    """The layers that carry deltas, by dotted name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, AdaptedLayer)}


def freeze(model: nn.Module) -> Callable[[], None]:
    """Switch gradients off for every parameter of a model, so that deltas alone are trained and the fast way is taken.

    Returns a function that switches them on again for those that had them and are still in the model.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.requires_grad_(False)

    def restore() -> None:
        present = {id(parameter) for parameter in model.parameters()}
        for parameter in trained:
            if id(parameter) in present:
                parameter.requires_grad_(True)

    return restore


def attach(model: nn.Module, deltas: Mapping[str, WeightDelta], name: str = DEFAULT) -> None:
    """Attach one delta to each named layer. Deltas under different names add up.

    Raises:
        KeyError: the model has no such layer, or it is neither Conv2d nor Linear.
        ValueError: a layer has a delta of this name already. Nothing is attached in either case.
    """
    layers = _layers_for(model, deltas)
    for path in deltas:
        layer = layers[path]
        if isinstance(layer, AdaptedLayer) and name in layer.deltas:
            raise ValueError(f"{path} already has a delta called {name!r}; swap or detach it")
    for path, delta in deltas.items():
        layer = layers[path]
        if not isinstance(layer, AdaptedLayer):
            layer = AdaptedConv2d.wrapping(layer) if isinstance(layer, nn.Conv2d) else AdaptedLinear.wrapping(layer)
            _put(model, path, layer)
        layer.deltas[name] = delta.to(layer.weight.device)
        layer.scales[name] = 1.0


def set_scale(model: nn.Module, scale: float, name: str = DEFAULT) -> None:
    """Set the scale of the deltas of this name: 0 is the base model, 1 the change as trained.

    Raises KeyError where no layer has a delta of this name.
    """
    holders = [layer for _, layer in _holders(model, name)]
    if not holders:
        raise KeyError(f"no layer has a delta called {name!r}")
    for layer in holders:
        layer.scales[name] = float(scale)


def swap(model: nn.Module, deltas: Mapping[str, WeightDelta], name: str = DEFAULT) -> None:
    """Put other deltas in the place of those of this name, at scale 1; layers they leave out are detached.

    Raises KeyError as `attach` does; the old deltas stay in that case.
    """
    _layers_for(model, deltas)
    detach(model, name)
    attach(model, deltas, name)


def detach(model: nn.Module, name: str | None = None) -> None:
    """Remove the deltas of this name (all of them without one).

    A layer left without any becomes the original module again, with the parameters and the mode it has by now.
    """
    for path, layer in adapted_layers(model).items():
        for held in list(layer.deltas) if name is None else [name]:
            if held in layer.deltas:
                del layer.deltas[held]
                del layer.scales[held]
        if not layer.deltas:
            # what reached this layer only: `train()`, and `load_state_dict(assign=True)` with its new parameters
            layer.original.training = layer.training
            layer.original._parameters.update(layer._parameters)
            _put(model, path, layer.original)


@contextmanager
def cached_weights(model: nn.Module) -> Iterator[None]:
    """Within the context every adapted weight is computed once and kept, for many passes without gradients.

    Unlike merging it leaves the base weights alone; it takes the memory of another copy of them. What is attached,
    scaled or trained meanwhile does not show.
    """
    layers = adapted_layers(model).values()
    try:
        with torch.no_grad():
            for layer in layers:
                layer.cached_weight = layer.adapted_weight().detach()
        yield
    finally:
        for layer in layers:
            layer.cached_weight = None


def trainable_parameters(model: nn.Module, name: str = DEFAULT) -> dict[str, nn.Parameter]:
    """The parameters of the deltas of this name, as "layer.parameter", in the order of the layers."""
    found: dict[str, nn.Parameter] = {}
    for path, layer in _holders(model, name):
        delta: Any = layer.deltas[name]
        found.update({f"{path}.{key}": parameter for key, parameter in delta.trainable().items()})
    return found


def _layers_for(model: nn.Module, deltas: Mapping[str, WeightDelta]) -> dict[str, nn.Module]:
    layers = adaptable_layers(model)
    for path in deltas:
        if path not in layers:
            raise KeyError(f"no convolution or linear layer is called {path!r}")
    return layers


def _holders(model: nn.Module, name: str) -> Iterator[tuple[str, AdaptedLayer]]:
    return ((path, layer) for path, layer in adapted_layers(model).items() if name in layer.deltas)


def _put(model: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, child = path.rpartition(".")
    setattr(model.get_submodule(parent) if parent else model, child, layer)
