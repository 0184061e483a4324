"""Tuning of a model's own parameters, where they are: what BitFit, DiffFit and full fine-tuning share."""

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..core.decompose import Decomposition
from ..errors import UsageError, excerpt
from .base import LayerPlan, check_all_used, halved, held
from .select import group_of, kind_of, matches, without_excluded
from .specs import InPlaceSpec, Spec

CHANGE = "change"
"""Ends the name of a tensor in the file that is added to a parameter."""


class InPlaceTuning:
    """A `Tuning` of parameters of the model itself.

    Args:
        parameters: of the model, by name. They require gradients until `detach`.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.parameters = dict(parameters)
        # the file holds changes, so the start is kept; on the CPU, as for full fine-tuning it is another model
        self._start = {name: parameter.detach().to("cpu", copy=True) for name, parameter in parameters.items()}
        self._trained: dict[str, Tensor] = {}
        """What was trained, while the parameters hold W + scale·ΔW for a scale other than 1."""
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)

    @torch.no_grad()
    def export(self) -> dict[str, Tensor]:
        """See `Tuning.export`: what is to be added to each parameter."""
        return halved({f"{name}.{CHANGE}": change for name, change in self.changes().items()})

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Startable.load`."""
        for name, parameter in self.parameters.items():
            change = held(tensors, f"{name}.{CHANGE}", tuple(parameter.shape))
            parameter.copy_(self._start[name].float() + change.float())

    def changes(self) -> dict[str, Tensor]:
        """ΔW of each parameter, in float32, on the CPU."""
        values = self._trained or self.parameters
        return {name: values[name].detach().cpu().float() - start.cpu() for name, start in self._start.items()}

    @torch.no_grad()
    def set_scale(self, scale: float) -> None:
        """See `Tuning.set_scale`. At another scale than 1 the parameters are not trained and require no gradients."""
        for name, trained in self._trained.items():
            self.parameters[name].copy_(trained)
        changes = self.changes()
        self._trained.clear()
        for name, parameter in self.parameters.items():
            parameter.requires_grad_(scale == 1.0)
            if scale != 1.0:
                self._trained[name] = parameter.detach().to("cpu", copy=True)
                parameter.copy_(self._start[name].float() + scale * changes[name])

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        """See `Switchable`. From the first time on the start is on the device of the parameters."""
        trained = {name: parameter.data for name, parameter in self.parameters.items()}
        try:
            for name, parameter in self.parameters.items():
                start = self._start[name]
                if (start.device, start.dtype, start.stride()) != (
                    parameter.device,
                    parameter.dtype,
                    parameter.stride(),
                ):
                    self._start[name] = start = torch.empty_like(parameter.data).copy_(start)
                parameter.data = start
            yield
        finally:
            for name, parameter in self.parameters.items():
                parameter.data = trained[name]

    @torch.no_grad()
    def detach(self) -> None:
        """See `Tuning.detach`."""
        for name, parameter in self.parameters.items():
            parameter.copy_(self._start[name])
            parameter.requires_grad_(False)
            parameter.grad = None
        self._trained.clear()


class InPlaceMethod:
    """A method that trains the parameters for which `wanted(module, name of the parameter in it)` is true."""

    name: str
    title: str
    learning_rate: float
    spec: type[Spec] = InPlaceSpec

    def __init__(self, name: str, title: str, learning_rate: float, wanted: Callable[[nn.Module, str], bool]) -> None:
        self.name = name
        self.title = title
        self.learning_rate = learning_rate
        self._wanted = wanted

    def chosen(self, model: nn.Module, spec: Any) -> dict[str, nn.Parameter]:
        """The parameters to train, in the model's order. Raises UsageError where there are none."""
        found = {
            f"{path}.{key}" if path else key: parameter
            for path, module in chosen_modules(model, spec.layers)
            for key, parameter in module.named_parameters(recurse=False)
            if self._wanted(module, key)
        }
        if not found:
            raise UsageError(
                f"{self.name} finds nothing to train in {excerpt(repr(spec.layers))}", "--layers all takes every layer"
            )
        return found

    def plan(self, model: nn.Module, spec: Any) -> list[LayerPlan]:
        """See `Method.plan`."""
        counts: dict[str, int] = {}
        for name, parameter in self.chosen(model, spec).items():
            path = name.rpartition(".")[0]
            counts[path] = counts.get(path, 0) + parameter.numel()
        modules = dict(model.named_modules())
        return [LayerPlan(path, group_of(path), kind_of(modules[path]), count) for path, count in counts.items()]

    def attach(
        self, model: nn.Module, spec: Any, *, seed: int = 0, decomposition: Mapping[str, Decomposition] | None = None
    ) -> InPlaceTuning:
        """See `Method.attach`."""
        return InPlaceTuning(self.chosen(model, spec))

    def changes(self, model: nn.Module, spec: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Method.changes`."""
        chosen = self.chosen(model, spec)
        found = {name: held(tensors, f"{name}.{CHANGE}", tuple(p.shape)).float() for name, p in chosen.items()}
        check_all_used(tensors, {f"{name}.{CHANGE}" for name in chosen})
        return found


def chosen_modules(model: nn.Module, layers: str) -> Iterator[tuple[str, nn.Module]]:
    """The modules that a choice names, those of every kind. Raises UsageError where a pattern matches none."""
    layers, excluded = without_excluded(layers)
    modules = {name: module for name, module in model.named_modules() if not matches(name, excluded)}
    patterns = ["*"] if layers == "all" else [pattern.strip() for pattern in layers.split(",")]
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in modules):
            raise UsageError(
                f"no layer of the model matches {excerpt(repr(pattern))}",
                "layers are all, or patterns such as 'up_blocks.*' or '*.norm1'",
            )
    for name, module in modules.items():
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            yield name, module
