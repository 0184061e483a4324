"""The paper's method: train filter atoms, keep their coefficients (arXiv 2403.00269, section 3)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..core.decompose import Decomposition, decompose
from ..core.deltas import AtomDelta, OvercompleteDelta, RandomMixDelta, WeightDelta, random_mix
from ..core.layout import RowLayout
from ..core.precision import all_finite
from ..errors import AtomtuneError, UsageError
from ..runtime.seeds import derived_generator
from .atom_tensors import exported, loaded
from .attached import AttachedDeltas
from .base import ComputedChanges, LayerPlan, check_all_used, held
from .select import group_of, kind_of, select_layers, weight_of
from .specs import AtomsSpec

MAX_SPREAD = 4
"""Coefficients for each number of the weights, at most; with the presets there are fewer of them than weights."""
SMALL = 2**26
"""Coefficients that are allowed in any case: 0.3 GB in float32."""

STEP = 3.0
"""What `step_gain` makes of a step, in standard deviations of the weight: what it is without it for 3×3 filters that 9
atoms describe fully, as a row of 9 numbers has a norm of 3 standard deviations."""


def chosen_layers(model: nn.Module, spec: AtomsSpec) -> dict[str, nn.Module]:
    """The layers a spec names, in the model's order.

    Raises UsageError as `select_layers`, and where the coefficients would be far more than the weights they stand for:
    an atoms file of kilobytes could ask for any amount of memory otherwise.
    """
    layers = select_layers(model, spec.layers)
    if not spec.trains_pointwise:
        layers = {name: layer for name, layer in layers.items() if kind_of(layer) != "conv 1x1"}
        if not layers:
            raise UsageError("only 1×1 convolutions are chosen, which are not trained", "--pointwise tiles trains them")
    coefficients = numbers = 0
    for name, layer in layers.items():
        weight = weight_of(layer)
        try:
            layout, atoms = dictionary_of(weight.shape, spec)
        except ValueError as problem:
            raise AtomtuneError(f"cannot decompose {name}: {problem}", "--layers chooses others") from None
        if not (_is_complete(layout, atoms, spec) or _is_gain(layout, spec)):  # which hold none
            coefficients += layout.count * atoms
        numbers += weight.numel()
    if coefficients > max(SMALL, MAX_SPREAD * numbers):
        raise UsageError(
            f"{spec.atoms} atoms and tiles of {spec.tile} need {coefficients:,} coefficients for {numbers:,} weights",
            "fewer atoms or larger tiles need less",
        )
    return layers


def dictionary_of(shape: Sequence[int], spec: AtomsSpec) -> tuple[RowLayout, int]:
    """How a weight of this shape is cut under a spec, and its number of atoms. Raises ValueError as `RowLayout.of`."""
    layout = RowLayout.of(shape, spec.tile, **_cut(spec))
    if _is_convolution(shape, spec):
        of_one = 1 if math.prod(shape[2:]) == 1 and spec.pointwise == "filters" else spec.atoms
        return layout, of_one * layout.channels
    return layout, layout.length if spec.tile_atoms == "complete" else spec.atoms


def _cut(spec: AtomsSpec) -> dict[str, Any]:
    """The arguments of `RowLayout.of` that say what convolutions are cut into."""
    return {"pointwise_tiles": spec.pointwise == "tiles", "block": spec.filter_block}


def _is_convolution(shape: Sequence[int], spec: AtomsSpec) -> bool:
    """Whether a weight of this shape is seen as filters, single or in blocks, and not as a linear map."""
    return len(shape) > 2 and (math.prod(shape[2:]) > 1 or spec.pointwise != "tiles")


def _is_complete(layout: RowLayout, atoms: int, spec: AtomsSpec) -> bool:
    """Whether every tile or block of a layer is multiplied by one matrix, and neither α nor D is needed."""
    if layout.is_filter or not _follows(spec):
        return False
    # tiles of few numbers keep their coefficients where a spec asks for as many atoms as filters have
    return spec.tile_atoms == "complete" or (_is_convolution(layout.shape, spec) and atoms >= layout.length)


def _is_gain(layout: RowLayout, spec: AtomsSpec) -> bool:
    """Whether a row is one number, which is multiplied by another."""
    return layout.is_filter and layout.length == 1 and _follows(spec)


def _follows(spec: AtomsSpec) -> bool:
    """Whether α is one product with the weight, at every step."""
    return spec.sparsity == 0.0 and not spec.train_coefficients


def decompose_layer(
    weight: Tensor, spec: AtomsSpec, *, device: torch.device | None = None, measure: bool = False
) -> Decomposition:
    """Decompose the weight of one layer as a spec asks for. Raises ValueError as `core.decompose.decompose`."""
    _, atoms = dictionary_of(weight.shape, spec)
    return decompose(weight, atoms, spec.tile, spec.sparsity, **_cut(spec), device=device, measure=measure)


def decompose_model(
    model: nn.Module,
    spec: AtomsSpec,
    *,
    device: torch.device | None = None,
    measure: bool = False,
    on_layer: Callable[[str, Decomposition], None] | None = None,
) -> dict[str, Decomposition]:
    """Decompose every chosen layer of a model, in its order. The one way in which models are decomposed.

    Args:
        device, measure: as for `core.decompose.decompose`.
        on_layer: called with each layer's name and decomposition as it is done.

    Raises UsageError as `chosen_layers`, AtomtuneError where a weight cannot be decomposed.
    """
    result: dict[str, Decomposition] = {}
    for name, layer in chosen_layers(model, spec).items():
        weight = weight_of(layer)
        try:
            result[name] = decompose_layer(weight, spec, device=device, measure=measure)
        except ValueError as problem:
            raise AtomtuneError(f"cannot decompose {name}: {problem}", "the base model's file may be damaged") from None
        if on_layer is not None:
            on_layer(name, result[name])
    return result


class Atoms:
    """The method."""

    name = "atoms"
    title = "filter atoms, their coefficients frozen"
    learning_rate = 1e-3
    spec = AtomsSpec

    def plan(self, model: nn.Module, spec: AtomsSpec) -> list[LayerPlan]:
        """See `Method.plan`."""
        plans = []
        for name, layer in chosen_layers(model, spec).items():
            layout, atoms = dictionary_of(weight_of(layer).shape, spec)
            count = atoms * layout.length if spec.train_atoms else 0
            if layout.is_filter and spec.overcomplete > 1:
                count = (count + layout.shape[1] * atoms) * spec.overcomplete
            if spec.train_coefficients:
                count += layout.count * atoms
            # the matrix of a complete dictionary, else D too
            stored = layout.length**2 if _is_complete(layout, atoms, spec) else count + atoms * layout.length
            cut = layout.count, layout.length, atoms
            plans.append(LayerPlan(name, group_of(name), kind_of(layer), count, *cut, stored))
        return plans

    def attach(
        self,
        model: nn.Module,
        spec: AtomsSpec,
        *,
        seed: int = 0,
        decomposition: Mapping[str, Decomposition] | None = None,
    ) -> AttachedDeltas:
        """See `Method.attach`. Nothing here is random but the mixes that `AtomsSpec.mix_start` starts so."""
        if decomposition is None:
            decomposition = decompose_model(model, spec)
        return AttachedDeltas(model, self.create(model, spec, decomposition, seed=seed), exported, loaded)

    def changes(self, model: nn.Module, spec: AtomsSpec, tensors: Mapping[str, Tensor]) -> ComputedChanges:
        """See `Method.changes`: α is encoded again from the base weight and D, when a layer is asked for."""
        layers = chosen_layers(model, spec)
        own = _by_layer(layers, spec, tensors)
        return ComputedChanges(
            {f"{name}.weight": partial(_change, name, layer, spec, own[name]) for name, layer in layers.items()}
        )

    def create(
        self, model: nn.Module, spec: AtomsSpec, decomposition: Mapping[str, Decomposition], *, seed: int = 0
    ) -> dict[str, WeightDelta]:
        """Fresh deltas, one a layer, whose change is zero; for `adapt.attach`. `seed` is that of random mixes."""
        deltas: dict[str, WeightDelta] = {}
        for name, layer in chosen_layers(model, spec).items():
            part = _ready(name, layer, spec, decomposition[name])
            gain = 1.0 if spec.paper_scaling else step_gain(layer, part)
            deltas[name] = _delta(spec, part, gain, derived_generator(seed, "mixing", name))
        return deltas

    def export(self, deltas: Mapping[str, WeightDelta]) -> dict[str, Tensor]:
        """The file's tensors, see `atom_tensors.exported`."""
        return exported(deltas)

    def restore(self, model: nn.Module, spec: AtomsSpec, tensors: Mapping[str, Tensor]) -> dict[str, WeightDelta]:
        """Deltas from a file's tensors and the base model's weights, for `adapt.attach`. Raises as `changes`."""
        layers = chosen_layers(model, spec)
        own = _by_layer(layers, spec, tensors)
        return {name: _restored(name, layer, spec, own[name]) for name, layer in layers.items()}


def _by_layer(
    layers: Mapping[str, nn.Module], spec: AtomsSpec, tensors: Mapping[str, Tensor]
) -> dict[str, dict[str, Tensor]]:
    """The tensors of every layer, D as "atoms", the others as the parameters are called.

    Raises AtomtuneError where the file does not hold just what these layers need.
    """
    found: dict[str, dict[str, Tensor]] = {}
    used: set[str] = set()
    for name, layer in layers.items():
        layout, count = dictionary_of(weight_of(layer).shape, spec)
        # without numbers, as only the shapes of what was trained are wanted
        atoms = torch.empty(count, layout.length, device="meta")
        coefficients = torch.empty(layout.count, count, device="meta")
        expected = _delta(spec, Decomposition(layout, atoms, coefficients, spec.sparsity)).trainable()
        shapes = {"atoms": atoms.shape, **{key: parameter.shape for key, parameter in expected.items()}}
        given = {}
        if _is_complete(layout, count, spec) and f"{name}.atoms" not in tensors:  # see `exported`
            given["atoms"] = torch.eye(layout.length)
            shapes = {"delta_atoms": given["atoms"].shape}
        found[name] = given | {key: held(tensors, f"{name}.{key}", tuple(shape)) for key, shape in shapes.items()}
        used.update(f"{name}.{key}" for key in shapes)
    check_all_used(tensors, used)
    return found


def _restored(name: str, layer: nn.Module, spec: AtomsSpec, own: Mapping[str, Tensor]) -> AtomDelta:
    """One layer's delta; α is encoded again, so that no cache is needed."""
    weight = weight_of(layer)
    layout, _ = dictionary_of(weight.shape, spec)
    part = Decomposition(layout, own["atoms"].float().to(weight.device), None, spec.sparsity)
    delta = _delta(spec, _ready(name, layer, spec, part)).to(weight.device)
    with torch.no_grad():
        for key, parameter in delta.trainable().items():
            parameter.copy_(own[key])
    return delta


def _ready(name: str, layer: nn.Module, spec: AtomsSpec, part: Decomposition) -> Decomposition:
    """With coefficients, where a delta needs them: without a penalty most do without, see `MatrixUpdate`."""
    weight = weight_of(layer)
    try:
        if _follows(spec) and (part.layout.is_filter or _is_complete(part.layout, len(part.atoms), spec)):
            if not all_finite(weight):
                raise ValueError("the weight holds values that are not finite")
            return part
        return replace(part, coefficients=part.coded(weight))
    except ValueError as problem:
        raise AtomtuneError(f"cannot encode {name}: {problem}", "the base model's file may be damaged") from None


def _change(name: str, layer: nn.Module, spec: AtomsSpec, own: Mapping[str, Tensor]) -> Tensor:
    return _restored(name, layer, spec, own).delta_weight(weight_of(layer))


def step_gain(layer: nn.Module, decomposition: Decomposition) -> float:
    """The factor of ΔD by which a step of the optimiser means the same for every layer.

    A step of size η of every number of ΔD changes a weight by about η·‖α_n‖, the norm of a row of coefficients, and
    these differ by layer, tile and number of atoms. With this factor it is η·`STEP` standard deviations of the weight.
    """
    spread = float(weight_of(layer).detach().float().std(correction=0))
    reach = decomposition.reach(weight_of(layer))
    return STEP * spread / reach if reach > 0.0 and spread > 0.0 else 1.0


def _delta(
    spec: AtomsSpec, decomposition: Decomposition, gain: float = 1.0, generator: torch.Generator | None = None
) -> AtomDelta:
    """One layer's delta, its random numbers from `generator`, or whatever they are where it is a file's."""
    if spec.overcomplete > 1 and decomposition.layout.is_filter:
        if spec.mix_start == "random":
            shape = decomposition.layout.shape[1], len(decomposition.atoms), spec.overcomplete
            mixing = torch.zeros(shape) if generator is None else random_mix(*shape, generator)
            return RandomMixDelta(decomposition, mixing, train_coefficients=spec.train_coefficients, gain=gain)
        return OvercompleteDelta(
            decomposition, overcomplete=spec.overcomplete, train_coefficients=spec.train_coefficients, gain=gain
        )
    return AtomDelta(decomposition, train_coefficients=spec.train_coefficients, train_atoms=spec.train_atoms, gain=gain)


ATOMS = Atoms()
