"""What an atoms file holds of deltas of atoms, and the way back into deltas that are trained on."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..core.deltas import AtomDelta, WeightDelta
from ..core.sparse_coding import linear_map
from ..errors import AtomtuneError
from .base import halved, held

CHANGE = "delta_atoms"
"""Ends the name of the tensor of ΔD."""


@torch.no_grad()
def exported(deltas: Mapping[str, WeightDelta]) -> dict[str, Tensor]:
    """The tensors of a file: "LAYER.atoms" (D) and, as trained, "LAYER.delta_…", all float16.

    A complete dictionary needs no D: ΔW = X·D⁺·ΔD, and "LAYER.delta_atoms" is the matrix D⁺·ΔD, which is ΔD where the
    atoms are the unit vectors.

    Raises AtomtuneError where a delta is not finite in float16.
    """
    tensors: dict[str, Tensor] = {}
    for name, delta in deltas.items():
        assert isinstance(delta, AtomDelta)
        if delta.is_complete:
            tensors[f"{name}.{CHANGE}"] = delta.matrix()
            continue
        tensors[f"{name}.atoms"] = delta.atoms
        for key, parameter in delta.trainable().items():
            tensors[f"{name}.{key}"] = delta.gain * parameter if key == CHANGE else parameter
    return halved(tensors)


@torch.no_grad()
def loaded(deltas: Mapping[str, WeightDelta], tensors: Mapping[str, Tensor]) -> None:
    """Give fresh deltas what a file holds.

    The atoms of a file that was trained on another base model are others. The change of such ones is carried over
    where that is exact: where as many atoms as numbers in a row describe a layer, and they alone were trained.

    Raises AtomtuneError where the tensors do not fit, or the change cannot be carried over.
    """
    for name, delta in deltas.items():
        assert isinstance(delta, AtomDelta)
        values = _values(name, delta, tensors)
        for key, parameter in delta.trainable().items():
            parameter.copy_(values[key])


def _values(name: str, delta: AtomDelta, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the parameters of a layer's delta are to be. Raises as `loaded`."""
    if delta.is_complete and f"{name}.atoms" not in tensors:
        side = delta.layout.length
        return {CHANGE: _moved(delta, held(tensors, f"{name}.{CHANGE}", (side, side)))}
    theirs = held(tensors, f"{name}.atoms", tuple(delta.atoms.shape)).to(delta.atoms.device)
    own = delta.trainable()
    values = {key: held(tensors, f"{name}.{key}", tuple(parameter.shape)) for key, parameter in own.items()}
    if torch.equal(theirs, delta.atoms.half()):
        return values | ({CHANGE: values[CHANGE].float() / delta.gain} if CHANGE in values else {})
    is_plain = type(delta) is AtomDelta and own.keys() == {CHANGE}
    if is_plain and delta.linear is not None and len(theirs) >= delta.layout.length:
        return {CHANGE: _moved(delta, linear_map(theirs.float()) @ values[CHANGE].to(theirs.device).float())}
    raise AtomtuneError(
        f"the file was trained on another base model, which has other atoms in {name}",
        "begin with a file of the same base model",
    )


def _moved(delta: AtomDelta, matrix: Tensor) -> Tensor:
    """The parameter by which a delta without coefficients changes its rows X by X·matrix."""
    return delta.atoms @ matrix.to(delta.atoms.device).float() / delta.gain
