"""Methods of the peft library: its own layers, injected into a model as its users do."""

import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..core.decompose import Decomposition
from ..errors import AtomtuneError
from .base import LayerPlan, check_all_used, halved, held
from .select import group_of, kind_of, select_layers
from .specs import RankSpec, Spec

_ADAPTER = "default"


class InjectedTuning:
    """A `Tuning` of peft's layers in a model.

    Args:
        factor: the file holds this times a parameter, by its name.
    """

    def __init__(self, model: nn.Module, layers: Mapping[str, Any], factor: Callable[[str], float]) -> None:
        self._model = model
        self._layers = layers
        self._hooks: list[Any] = []
        self._factor = factor
        self.parameters = own_parameters(layers)
        for parameter in self.parameters.values():
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)

    def export(self) -> dict[str, Tensor]:
        """See `Tuning.export`. The names are those of peft's own files."""
        return halved({name: self._factor(name) * parameter for name, parameter in self.parameters.items()})

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Startable.load`."""
        for name, parameter in self.parameters.items():
            parameter.copy_(held(tensors, name, tuple(parameter.shape)).float() / self._factor(name))

    def detach(self) -> None:
        """See `Tuning.detach`."""
        self.set_scale(1.0)
        take_out(self._model)

    def set_scale(self, scale: float) -> None:
        """See `Tuning.set_scale`. Outputs of layer and base layer are mixed, as peft has no scale for some methods."""
        for hook in self._hooks:
            hook.remove()

        def mixed(layer: Any, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            base: Tensor = layer.get_base_layer()(*inputs)
            return base + scale * (output - base)

        self._hooks = [] if scale == 1.0 else [layer.register_forward_hook(mixed) for layer in self._layers.values()]

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        """See `Switchable`."""
        for layer in self._layers.values():
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in self._layers.values():
                layer.enable_adapters(True)
            for parameter in self.parameters.values():
                parameter.requires_grad_(True)


class PeftMethod(ABC):
    """A method of peft. Its file holds what peft's own would, under the same names."""

    name: str
    title: str
    learning_rate = 1e-3
    spec: type[Spec] = RankSpec
    takes_groups = True
    """Whether peft can merge it into a grouped convolution."""

    @abstractmethod
    def config(self, spec: Any) -> Any:
        """peft's configuration, without the choice of layers."""

    def factor(self, _spec: Any, _name: str) -> float:
        """What the file holds, over the parameter of a name: 1 with most methods."""
        return 1.0

    def read(self, spec: Any) -> Any:
        """The spec under which a file's tensors are read."""
        return spec

    def prepare(self, layer: Any) -> None:
        """Correct a freshly injected layer; nothing to do with most methods."""
        return

    def change(self, layer: Any) -> Tensor:
        """ΔW of an injected layer."""
        change: Tensor = layer.get_delta_weight(_ADAPTER)
        return change

    def plan(self, model: nn.Module, spec: Any) -> list[LayerPlan]:
        """See `Method.plan`."""
        with self._injected(model, spec, empty=True) as layers:
            return [
                LayerPlan(
                    name,
                    group_of(name),
                    kind_of(layer.get_base_layer()),
                    sum(parameter.numel() for parameter in own_parameters({name: layer}).values()),
                )
                for name, layer in layers.items()
            ]

    def attach(
        self, model: nn.Module, spec: Any, *, seed: int = 0, decomposition: Mapping[str, Decomposition] | None = None
    ) -> InjectedTuning:
        """See `Method.attach`."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return InjectedTuning(model, self._inject(model, spec), partial(self.factor, spec))

    @torch.no_grad()
    def changes(self, model: nn.Module, spec: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Method.changes`."""
        # empty first: a small file may name a rank that takes a lot of memory
        with self._injected(model, self.read(spec), empty=True) as layers:
            parameters = own_parameters(layers)
            values = {name: held(tensors, name, tuple(parameter.shape)) for name, parameter in parameters.items()}
            check_all_used(tensors, set(parameters))
            for path, layer in layers.items():
                _fill(path, layer, values)
            return {f"{name}.weight": self.change(layer).float() for name, layer in layers.items()}

    @contextmanager
    def _injected(self, model: nn.Module, spec: Any, empty: bool) -> Iterator[dict[str, Any]]:
        flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
        try:
            yield self._inject(model, spec, empty)
        finally:
            take_out(model)
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(flags[name])

    def _inject(self, model: nn.Module, spec: Any, empty: bool = False) -> dict[str, Any]:
        from peft import inject_adapter_in_model

        chosen = select_layers(model, spec.layers)
        for name, layer in chosen.items():
            if not self.takes_groups and isinstance(layer, nn.Conv2d) and layer.groups > 1:
                raise AtomtuneError(f"peft has no {self.name} for grouped convolutions ({name})", "--layers attention")
        config = self.config(spec)
        # a list would also match the ends of other layers' names
        config.target_modules = "|".join(map(re.escape, chosen))
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module="peft")
                inject_adapter_in_model(config, model, _ADAPTER, low_cpu_mem_usage=empty)
        except (ValueError, TypeError, NotImplementedError) as problem:
            take_out(model)
            raise AtomtuneError(f"peft cannot put {self.name} there: {problem}", "--layers chooses others") from None
        layers = injected_layers(model)
        for layer in layers.values():
            self.prepare(layer)
        return layers


def injected_layers(model: nn.Module) -> dict[str, Any]:
    """peft's layers in a model, by dotted name."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: layer for name, layer in model.named_modules() if isinstance(layer, BaseTunerLayer)}


def own_parameters(layers: Mapping[str, Any]) -> dict[str, nn.Parameter]:
    """The parameters that peft's layers add, by the names they have in peft's files."""
    found: dict[str, nn.Parameter] = {}
    for path, layer in layers.items():
        base = {id(parameter) for parameter in layer.get_base_layer().parameters()}
        for name, parameter in layer.named_parameters():
            if id(parameter) not in base:
                found[f"{path}.{_without_adapter(name)}"] = parameter
    return found


def take_out(model: nn.Module) -> None:
    """Put the original layers back in the place of peft's."""
    for path, layer in injected_layers(model).items():
        parent, _, child = path.rpartition(".")
        original = layer.get_base_layer()
        original.training = layer.training
        setattr(model.get_submodule(parent), child, original)
    if hasattr(model, "peft_config"):
        del model.peft_config


def _fill(path: str, layer: Any, values: Mapping[str, Tensor]) -> None:
    """Give an empty layer its parameters."""
    device = layer.get_base_layer().weight.device
    for inner, module in layer.named_modules():
        if inner.split(".")[0] == "base_layer":
            continue
        for key in [key for key, parameter in module._parameters.items() if parameter is not None]:
            name = _without_adapter(f"{path}.{inner}.{key}" if inner else f"{path}.{key}")
            module._parameters[key] = nn.Parameter(values[name].float().to(device), requires_grad=False)


def _without_adapter(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != _ADAPTER)
