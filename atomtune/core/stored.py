"""ΔW of one layer from the base weight and what an atoms file holds of the layer, with nothing else of atomtune.

For other programs that have the weight at hand: how the weight is cut into rows follows from the shapes, and only λ has
to be known beside them.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .decompose import Decomposition
from .deltas import AtomDelta, OvercompleteDelta, RandomMixDelta
from .layout import RowLayout, largest_divisor
from .precision import all_finite

NAMES = ("atoms", "delta_atoms", "delta_mixing", "mixing", "delta_coefficients")
"""What a file can hold of a layer: D, ΔD, Δβ or β of overcomplete atoms, and Δα where coefficients were trained.

Without D, ΔD is that of the unit vectors: the matrix of a complete dictionary.
"""


def stored_layout(shape: Sequence[int], tensors: Mapping[str, Tensor]) -> RowLayout:
    """How a weight of this shape was cut into rows, by the shapes of the layer's tensors.

    A layer has at most one pair of tile sides for each number of entries: as the limit k_c grows neither side shrinks,
    and so it is with the sides of blocks of filters.

    Args:
        shape: of the weight.
        tensors: by `NAMES`, without the layer's name.

    Raises ValueError where these tensors are not of a weight of this shape.
    """
    tensors = _with_atoms(tensors)
    shape, length = tuple(shape), tensors["atoms"].shape[-1]
    mixed = next((name for name in ("delta_mixing", "mixing") if name in tensors), None)
    if len(shape) > 2 and mixed is not None:
        layout = RowLayout.of(shape, 1, pointwise_tiles=False)
    elif math.prod(shape[2:]) > 1:
        layout = RowLayout.of(shape, 1, block=_block(shape, length))
    else:
        layout = RowLayout.of(shape, _tile_limit(shape, length))
    count = tensors["atoms"].shape[0]
    expected: dict[str, tuple[int, ...]] = {"atoms": (count, layout.length)}
    if "delta_atoms" in tensors:
        expected["delta_atoms"] = (count, layout.length)
    if mixed is not None:
        mix = tensors[mixed].shape[-1]
        expected |= {"delta_atoms": (count, mix, layout.length), mixed: (shape[1], count, mix)}
    if "delta_coefficients" in tensors:
        expected["delta_coefficients"] = (layout.count, count)
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != expected:
        raise ValueError(f"a weight of shape {shape} has no atoms of the shapes {found}")
    return layout


@torch.no_grad()
def stored_delta(weight: Tensor, tensors: Mapping[str, Tensor], sparsity: float) -> Tensor:
    """ΔW, (weight shape), float32, where the weight is.

    Args:
        weight: the untouched base weight, any floating type.
        tensors: by `NAMES`, as in the file.
        sparsity: λ of the decomposition, in the file's metadata.

    Raises ValueError as `stored_layout`, and for weights whose coefficients are not finite.
    """
    if not all_finite(weight):
        raise ValueError("the weight holds values that are not finite")
    tensors = _with_atoms(tensors)
    layout = stored_layout(weight.shape, tensors)
    part = Decomposition(layout, tensors["atoms"].to(weight.device, torch.float32), None, sparsity)
    trains_coefficients = "delta_coefficients" in tensors
    if not part.may_follow or trains_coefficients:
        part = Decomposition(layout, part.atoms, part.coded(weight), sparsity)
    delta: AtomDelta
    if "delta_mixing" in tensors:
        mix = tensors["delta_mixing"].shape[-1]
        delta = OvercompleteDelta(part, overcomplete=mix, train_coefficients=trains_coefficients)
    elif "mixing" in tensors:
        delta = RandomMixDelta(part, tensors["mixing"], train_coefficients=trains_coefficients)
    else:
        delta = AtomDelta(part, train_coefficients=trains_coefficients, train_atoms="delta_atoms" in tensors)
    delta.to(weight.device)
    for name, parameter in delta.trainable().items():
        parameter.copy_(tensors[name])
    return delta.delta_weight(weight)


def _with_atoms(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if "atoms" in tensors:
        return dict(tensors)
    if "delta_atoms" not in tensors:
        raise ValueError("neither atoms nor changes of them are there")
    return {"atoms": torch.eye(tensors["delta_atoms"].shape[-1]), **tensors}


def _block(shape: tuple[int, ...], length: int) -> int:
    """The least block of filters of `length` numbers. Raises ValueError where there is none."""
    block = 1
    while (found := RowLayout.of(shape, 1, block=block).length) < length and block < max(shape[:2]):
        block *= 2
    if found != length:
        raise ValueError(f"a weight of shape {shape} has no filters or blocks of {length} numbers")
    return block


def _tile_limit(shape: tuple[int, ...], length: int) -> int:
    """The least k_c that cuts tiles of `length` entries. Raises ValueError where none does."""
    for limit in range(1, length + 1):
        entries = largest_divisor(shape[0], limit) * largest_divisor(shape[1], limit)
        if entries == length:
            return limit
        if entries > length:
            break
    raise ValueError(f"a weight of shape {shape} has no tiles of {length} entries")
