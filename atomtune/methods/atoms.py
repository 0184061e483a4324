"""The paper's method: train filter atoms, keep their coefficients (arXiv 2403.00269, section 3)."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..core.decompose import Decomposition, decompose, encode_weight
from ..core.deltas import AtomDelta, OvercompleteDelta, WeightDelta
from ..core.rows import RowLayout
from ..errors import AtomtuneError, UsageError, excerpt
from .base import LayerPlan, group_of, kind_of, select_layers

MAX_TILE = 64
MAX_ATOMS = 512

MAX_SPREAD = 4
"""Coefficients for each number of the weights, at most; with the presets there are fewer of them than weights."""
SMALL = 2**26
"""Coefficients that are allowed in any case: 0.3 GB in float32."""

_LONGEST_CHOICE = 20_000


def _check(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(
            f"{name} must be a whole number from {low} to {high}, got {excerpt(repr(value))}", "--preset c2 is a start"
        )


@dataclass(frozen=True)
class AtomsSpec:
    """What is decomposed and what of it is trained.

    Attributes:
        atoms: m, atoms in each layer's dictionary.
        tile: k_c, the largest side of a tile of a linear layer or 1×1 convolution.
        overcomplete: m₁, atoms that each filter atom is mixed from; 1 trains the atoms themselves.
        sparsity: λ relative to the standard deviation of the weight.
        layers: which layers, as for `select_layers`; "conv" is the paper's "ΔD alone".
        train_coefficients: train Δα too (the paper's C4).
    """

    atoms: int = 9
    tile: int = 16
    overcomplete: int = 1
    sparsity: float = 0.05
    layers: str = "all"
    train_coefficients: bool = False

    def __post_init__(self) -> None:
        _check("atoms", self.atoms, 1, MAX_ATOMS)
        _check("tile", self.tile, 1, MAX_TILE)
        _check("overcomplete", self.overcomplete, 1, 16)
        number = isinstance(self.sparsity, (int, float)) and not isinstance(self.sparsity, bool)
        if not (number and 0.0 <= self.sparsity <= 10.0):
            raise UsageError(
                f"sparsity must be between 0 and 10, got {excerpt(repr(self.sparsity))}", "0.05 is the default"
            )
        if not isinstance(self.layers, str) or not isinstance(self.train_coefficients, bool):
            raise UsageError("layers must be text and train_coefficients true or false", "see atomtune train --help")
        if len(self.layers) > _LONGEST_CHOICE:
            raise UsageError(
                f"layers has {len(self.layers):,} characters", "patterns such as 'up_blocks.*' are shorter"
            )

    @property
    def decomposition_key(self) -> str:
        """What of the spec decides the decomposition, as text for names of cache files and log lines."""
        return f"m{self.atoms}-k{self.tile}-l{float(self.sparsity)!r}-{self.layers}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `Atoms.spec_from` is the way back."""
        return asdict(self)


PRESETS: dict[str, AtomsSpec] = {
    "c1": AtomsSpec(atoms=6, tile=4),
    "c2": AtomsSpec(atoms=9, tile=16),
    "c3": AtomsSpec(atoms=9, tile=16, overcomplete=3),
    "c4": AtomsSpec(atoms=9, tile=16, overcomplete=3, train_coefficients=True),
}
"""The configurations of the paper's Table 2."""


def preset_name(spec: AtomsSpec) -> str:
    """The preset a spec equals, or "custom"."""
    return next((name for name, preset in PRESETS.items() if preset == spec), "custom")


def chosen_layers(model: nn.Module, spec: AtomsSpec) -> dict[str, nn.Module]:
    """The layers a spec names, in the model's order.

    Raises UsageError as `select_layers`, and where the coefficients would be far more than the weights they stand for:
    an atoms file of kilobytes could ask for any amount of memory otherwise.
    """
    layers = select_layers(model, spec.layers)
    coefficients = numbers = 0
    for name, layer in layers.items():
        weight = _weight(layer)
        try:
            coefficients += RowLayout.of(weight.shape, spec.tile).count * spec.atoms
        except ValueError as problem:
            raise AtomtuneError(f"cannot decompose {name}: {problem}", "--layers chooses others") from None
        numbers += weight.numel()
    if coefficients > max(SMALL, MAX_SPREAD * numbers):
        raise UsageError(
            f"{spec.atoms} atoms and tiles of {spec.tile} need {coefficients:,} coefficients for {numbers:,} weights",
            "fewer atoms or larger tiles need less",
        )
    return layers


def decompose_model(
    model: nn.Module, spec: AtomsSpec, on_layer: Callable[[str, Decomposition], None] | None = None
) -> dict[str, Decomposition]:
    """Decompose every chosen layer of a model, in its order; `on_layer` hears of each as it is done.

    Raises UsageError as `chosen_layers`, AtomtuneError where a weight cannot be decomposed.
    """
    result: dict[str, Decomposition] = {}
    for name, layer in chosen_layers(model, spec).items():
        try:
            result[name] = decompose(_weight(layer), spec.atoms, spec.tile, spec.sparsity)
        except ValueError as problem:
            raise AtomtuneError(f"cannot decompose {name}: {problem}", "the base model's file may be damaged") from None
        if on_layer is not None:
            on_layer(name, result[name])
    return result


class Atoms:
    """The registry's entry for the method."""

    name = "atoms"

    def spec_from(self, fields_: Mapping[str, Any]) -> AtomsSpec:
        """See `Method.spec_from`."""
        known = {field.name for field in fields(AtomsSpec)}
        if unknown := sorted(set(fields_) - known):
            raise UsageError(
                f"unknown spec fields: {excerpt(', '.join(unknown))}", "a newer atomtune may have written the file"
            )
        return replace(AtomsSpec(), **fields_)

    def plan(self, model: nn.Module, spec: AtomsSpec) -> list[LayerPlan]:
        """See `Method.plan`."""
        plans = []
        for name, layer in chosen_layers(model, spec).items():
            layout = RowLayout.of(_weight(layer).shape, spec.tile)
            count = spec.atoms * layout.length
            if layout.is_filter and spec.overcomplete > 1:
                count = (count + layout.shape[1] * spec.atoms) * spec.overcomplete
            if spec.train_coefficients:
                count += layout.count * spec.atoms
            plans.append(LayerPlan(name, group_of(name), kind_of(layer), layout.count, layout.length, count))
        return plans

    def create(
        self, model: nn.Module, spec: AtomsSpec, decomposition: Mapping[str, Decomposition]
    ) -> dict[str, WeightDelta]:
        """See `Method.create`."""
        return {name: _delta(spec, decomposition[name]) for name in chosen_layers(model, spec)}

    @torch.no_grad()
    def export(self, deltas: Mapping[str, WeightDelta]) -> dict[str, Tensor]:
        """See `Method.export`: "LAYER.atoms" (D) and, as trained, "LAYER.delta_…", all float16.

        Raises AtomtuneError where a delta is not finite in float16.
        """
        tensors: dict[str, Tensor] = {}
        for name, delta in deltas.items():
            assert isinstance(delta, AtomDelta)
            tensors[f"{name}.atoms"] = delta.atoms
            for key, parameter in delta.trainable().items():
                tensors[f"{name}.{key}"] = delta.gain * parameter if key == "delta_atoms" else parameter
        half = {key: tensor.detach().to("cpu", torch.float16).contiguous() for key, tensor in tensors.items()}
        for key, tensor in half.items():
            if not bool(torch.isfinite(tensor).all()):
                raise AtomtuneError(f"{key} is not finite in float16", "training diverged: use a lower --lr")
        return half

    def restore(self, model: nn.Module, spec: AtomsSpec, tensors: Mapping[str, Tensor]) -> dict[str, WeightDelta]:
        """See `Method.restore`: α is encoded again from the base weight and D, so the result needs no cache."""
        layers = chosen_layers(model, spec)
        deltas: dict[str, WeightDelta] = {}
        used: set[str] = set()
        for name, layer in layers.items():
            layout = RowLayout.of(_weight(layer).shape, spec.tile)
            atoms = _tensor(tensors, f"{name}.atoms", (spec.atoms, layout.length)).float().to(_weight(layer).device)
            try:
                coefficients = encode_weight(_weight(layer), layout, atoms, spec.sparsity)
            except ValueError as problem:
                raise AtomtuneError(
                    f"cannot encode {name}: {problem}", "the base model's file may be damaged"
                ) from None
            delta = _delta(spec, Decomposition(layout, atoms, coefficients, spec.sparsity))
            used.add(f"{name}.atoms")
            with torch.no_grad():
                for key, parameter in delta.trainable().items():
                    parameter.copy_(_tensor(tensors, f"{name}.{key}", tuple(parameter.shape)))
                    used.add(f"{name}.{key}")
            deltas[name] = delta
        if foreign := sorted(set(tensors) - used):
            raise AtomtuneError(
                f"the atoms are of another architecture: the model has no place for {excerpt(foreign[0])}"
                + (f" and {len(foreign) - 1} more tensors" if len(foreign) > 1 else ""),
                "use the base model that atomtune inspect names, or one of the same architecture",
            )
        return deltas


def _delta(spec: AtomsSpec, decomposition: Decomposition) -> AtomDelta:
    if spec.overcomplete > 1 and decomposition.layout.is_filter:
        return OvercompleteDelta(
            decomposition, overcomplete=spec.overcomplete, train_coefficients=spec.train_coefficients
        )
    return AtomDelta(decomposition, train_coefficients=spec.train_coefficients)


def _tensor(tensors: Mapping[str, Tensor], key: str, shape: tuple[int, ...]) -> Tensor:
    if key not in tensors:
        raise AtomtuneError(
            f"the atoms file holds nothing for {key}, which the base model has",
            "use the base model that atomtune inspect names, or one of the same architecture",
        )
    tensor = tensors[key]
    if tuple(tensor.shape) != shape:
        raise AtomtuneError(
            f"{key} has shape {tuple(tensor.shape)}, the base model needs {shape}",
            "use the base model that atomtune inspect names, or one of the same architecture",
        )
    if tensor.dtype != torch.float16:  # wider types hold values that overflow while coefficients are computed
        raise AtomtuneError(f"{key} is not in float16", "fetch or train it again")
    return tensor


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight
