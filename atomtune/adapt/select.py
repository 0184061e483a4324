"""Which layers of a model can be adapted, and why the others cannot."""

from collections.abc import Iterator

from torch import nn
from torch.nn.utils import parametrize

from .layers import AdaptedConv2d, AdaptedLinear


def adaptable_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that can be adapted, by dotted name, adapted ones included; `skipped_layers` has the others."""
    return {name: layer for name, layer in _all_layers(model) if not _reason(model, name, layer)}


def skipped_layers(model: nn.Module) -> dict[str, str]:
    """The layers that hold a weight matrix or filters and cannot be adapted, by dotted name, each with the reason.

    Lookup tables (`nn.Embedding`) are not counted among the layers.
    """
    found = {name: _reason(model, name, layer) for name, layer in _all_layers(model)}
    return {name: reason for name, reason in found.items() if reason}


def _all_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules with a weight of two or more dimensions of their own, parametrised ones included."""
    for name, module in model.named_modules():
        if name.endswith("parametrizations") or ".parametrizations." in f".{name}":
            continue
        weights = (
            parameter
            for key, parameter in module._parameters.items()
            if parameter is not None and parameter.dim() > 1 and "weight" in key
        )
        is_table = isinstance(module, nn.Embedding | nn.EmbeddingBag)
        if not is_table and (any(True for _ in weights) or parametrize.is_parametrized(module, "weight")):
            yield name, module


def _reason(model: nn.Module, name: str, layer: nn.Module) -> str:
    """Why a layer cannot be adapted; empty where it can be."""
    kind = type(layer).__name__
    parent = model.get_submodule(name.rpartition(".")[0]) if name else None
    if parent is None:
        return "it is the whole model, which has no parent to hold an adapted layer in its place"
    if isinstance(layer, nn.MultiheadAttention):
        return "nn.MultiheadAttention fuses the projections of query, key and value into one parameter"
    if isinstance(parent, nn.MultiheadAttention):
        return "nn.MultiheadAttention reads its weight and never calls the layer"
    if not isinstance(layer, nn.Conv2d | nn.Linear):
        return f"{kind} is neither nn.Linear nor nn.Conv2d"
    if layer._parameters.get("weight") is None:
        return "its weight is computed from other parameters"
    if type(layer) not in (nn.Conv2d, nn.Linear, AdaptedConv2d, AdaptedLinear):
        return f"{kind} is a subclass whose own forward an adapted layer would drop"
    return ""
