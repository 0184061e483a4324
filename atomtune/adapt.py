"""Adapted layers: attach weight deltas to a model, scale, swap, merge and detach them (floor 1).

An adapted layer is a subclass of the layer it stands for. It shares the original parameters and keeps their state-dict
keys, and holds the deltas as children. Without gradients it computes its output with one convolution (or matrix
product) of the adapted weight. Where gradients are recorded and a single delta has the form `Factors` or `Refiltering`,
`core.adapted` computes the same but for rounding, faster and with less memory.

    attach(unet, {"conv_in": delta, ...})     # the output is still the base model's, bit for bit
    set_scale(unet, 0.8)
    merge(unet)                               # writes W' into the base weights and takes the deltas away
    detach(unet)                              # puts the very original modules back
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .core.adapted import adapted
from .core.deltas import WeightDelta
from .core.factors import Factors
from .core.maps import Convolution, Product
from .core.precision import all_finite
from .core.refiltered import Refiltering

DEFAULT = "default"


class AdaptedLayer(nn.Module):
    """What the adapted layers share; use the subclasses.

    Attributes:
        deltas: the attached deltas by name; their changes add up.
        scales: the strength of each, 1 for the change as trained, 0 for none.
        cached_weight: the adapted weight while `cached_weights` holds it; None otherwise.
    """

    weight: Tensor
    deltas: nn.ModuleDict
    scales: dict[str, float]
    cached_weight: Tensor | None
    _original: tuple[nn.Module]

    @classmethod
    def over(cls, layer: nn.Module) -> Self:
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
                change = delta.update(self.weight)
                weight = weight + (change if scale == 1.0 else scale * change)
            return weight.to(self.weight.dtype)

    def weight_for(self, input: Tensor) -> Tensor:
        """`adapted_weight` in the type to compute in: the input's where weights are held in fewer bytes."""
        weight = self.adapted_weight()
        return weight if _autocasts(input.device.type) else weight.to(input.dtype)

    def factors(self) -> Factors | Refiltering | None:
        """The change as `core.adapted` takes it; None where `adapted_weight` is used instead.

        That is: without gradients, so that what is drawn is what will be merged; where several deltas are active or
        none, or one of another form; and where the base weight or a strength of trained coefficients is not fixed.
        """
        if not torch.is_grad_enabled() or self.cached_weight is not None or self.weight.requires_grad:
            return None
        active = [name for name, scale in self.scales.items() if scale != 0.0]
        if len(active) != 1:
            return None
        delta, scale = self.deltas[active[0]], self.scales[active[0]]
        assert isinstance(delta, WeightDelta)
        with _without_autocast(self.weight.device.type):
            factors = delta.factors()
        if factors is None or scale == 1.0:
            return factors
        trains_coefficients = isinstance(factors, Factors) and factors.extra is not None
        return None if trains_coefficients else factors.scaled(scale)

    def _adapted(
        self, map_: Product | Convolution, input: Tensor, bias: Tensor | None, factors: Factors | Refiltering
    ) -> Tensor:
        device = input.device.type
        if _autocasts(device):
            kind = torch.get_autocast_dtype(device)
            input, bias = input.to(kind), None if bias is None else bias.to(kind)
        with _without_autocast(device):
            return adapted(map_, input, self.weight, bias, factors)


class AdaptedConv2d(AdaptedLayer, nn.Conv2d):
    """A 2-D convolution with an adapted weight."""

    def forward(self, input: Tensor) -> Tensor:
        """(n, c_in, h, w) → (n, c_out, h', w')."""
        factors = self.factors() if input.dim() == 4 else None
        if factors is None:
            return self._conv_forward(input, self.weight_for(input), self.bias)
        padding = self.padding
        if self.padding_mode != "zeros" or isinstance(padding, str):
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            input, padding = F.pad(input, self._reversed_padding_repeated_twice, mode=mode), (0, 0)
        return self._adapted(Convolution(self.stride, padding, self.dilation, self.groups), input, self.bias, factors)


class AdaptedLinear(AdaptedLayer, nn.Linear):
    """A linear layer with an adapted weight."""

    def forward(self, input: Tensor) -> Tensor:
        """(…, c_in) → (…, c_out)."""
        factors = self.factors() if input.dim() > 1 else None
        if factors is None:
            return F.linear(input, self.weight_for(input), self.bias)
        return self._adapted(_PRODUCT, input, self.bias, factors)


_PRODUCT = Product()


def adaptable_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that can be adapted, by dotted name, adapted ones included.

    Subclasses of Conv2d and Linear are not among them: an adapted layer would drop what their `forward` adds. Nor is
    the model itself, which has no parent to hold an adapted layer in its place.
    """
    kinds = (nn.Conv2d, nn.Linear, AdaptedConv2d, AdaptedLinear)
    return {name: layer for name, layer in model.named_modules() if name and type(layer) in kinds}


def adapted_layers(model: nn.Module) -> dict[str, AdaptedLayer]:
    """The layers that carry deltas, by dotted name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, AdaptedLayer)}


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
            layer = AdaptedConv2d.over(layer) if isinstance(layer, nn.Conv2d) else AdaptedLinear.over(layer)
            _put(model, path, layer)
        layer.deltas[name] = delta.to(layer.weight.device)
        layer.scales[name] = 1.0


def set_scale(model: nn.Module, scale: float, name: str = DEFAULT) -> None:
    """Set the strength of the deltas of this name: 0 is the base model, 1 the change as trained.

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
    """Take the deltas of this name away (all of them without one).

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
    """Within the context every adapted weight is computed once and used as it is, for many passes without gradients.

    Unlike `merge` it leaves the base weights alone; it takes the memory of another copy of them. What is attached,
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


@torch.no_grad()
def merge(model: nn.Module) -> None:
    """Write every adapted weight into its base weight, once, and take the deltas away.

    Raises:
        ValueError: an adapted weight is not finite in the dtype of the model; the layer is named and no weight changes.
    """
    layers = adapted_layers(model)
    for path, layer in layers.items():
        if not all_finite(layer.adapted_weight()):
            raise ValueError(f"the adapted weight of {path} is not finite in {layer.weight.dtype}")
    for layer in layers.values():
        layer.weight.copy_(layer.adapted_weight())
    detach(model)


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


def _without_autocast(device_type: str) -> AbstractContextManager[Any]:
    # autocast would round α·ΔD, and the gradient of ΔD, to its own type
    return torch.autocast(device_type, enabled=False) if _autocasts(device_type) else nullcontext()


def _autocasts(device_type: str) -> bool:
    return torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)


def _holders(model: nn.Module, name: str) -> Iterator[tuple[str, AdaptedLayer]]:
    return ((path, layer) for path, layer in adapted_layers(model).items() if name in layer.deltas)


def _put(model: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, child = path.rpartition(".")
    setattr(model.get_submodule(parent) if parent else model, child, layer)
