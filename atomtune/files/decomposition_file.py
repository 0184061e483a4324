"""The decomposition file: atoms and coefficients of one base model under one spec, in the cache. Safe to delete."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import __version__
from ..core.decompose import Decomposition
from ..core.layout import RowLayout
from ..errors import AtomtuneError, excerpt
from . import store
from .untrusted_json import parse_json

KIND = "decomposition"

_HUGE = 2**31


def save_decomposition(
    path: Path,
    decomposition: Mapping[str, Decomposition],
    base: str,
    base_fingerprint: str,
    spec: Mapping[str, Any],
    report: Any,
) -> str:
    """Write one base model's decomposition, layer by layer: "LAYER.atoms" and, where λ is not 0, "LAYER.coefficients".

    `report` is what was measured while it was made, as JSON; it comes back in the metadata.
    Returns the checksum of the tensors.
    """
    tensors: dict[str, Tensor] = {}
    layouts: dict[str, Any] = {}
    for name, part in decomposition.items():
        tensors[f"{name}.atoms"] = part.atoms.half()
        if part.coefficients is not None:
            tensors[f"{name}.coefficients"] = part.coefficients
        layouts[name] = {"shape": part.layout.shape, "tile": part.layout.tile, "sparsity": part.sparsity}
    metadata = {
        "base": base,
        "base_fingerprint": base_fingerprint,
        "spec": json.dumps(spec),
        "layers": json.dumps(layouts),
        "report": json.dumps(report),
        "tool_version": __version__,
    }
    return store.save(path, KIND, tensors, metadata)


def load_decomposition(path: Path) -> tuple[dict[str, Decomposition], dict[str, str]]:
    """The layers of a decomposition file and its metadata. Raises AtomtuneError where it is missing or damaged."""
    tensors, header = store.load(path, KIND)
    try:
        result = {}
        if missing := {"base", "base_fingerprint", "spec", "report"} - set(header):
            raise KeyError(*sorted(missing))
        for name, entry in parse_json(header["layers"]).items():
            layout, sparsity = _layout(entry), entry["sparsity"]
            if isinstance(sparsity, bool) or not isinstance(sparsity, int | float) or not 0 <= sparsity < _HUGE:
                raise ValueError(f"the sparsity of {name} is no number")
            atoms = tensors.pop(f"{name}.atoms")
            coefficients = tensors.pop(f"{name}.coefficients") if sparsity > 0 else None
            if any(tensor is not None and tensor.dtype != torch.float16 for tensor in (atoms, coefficients)):
                raise ValueError(f"{name} is not in float16")
            if atoms.shape[1:] != (layout.length,):
                raise ValueError(f"{name} has shapes that do not fit")
            if coefficients is not None and coefficients.shape != (layout.count, atoms.shape[0]):
                raise ValueError(f"{name} has shapes that do not fit")
            result[name] = Decomposition(layout, atoms.float(), coefficients, float(sparsity))
        if tensors:
            raise ValueError(f"nothing names the tensor {min(tensors)}")
    except (LookupError, ValueError, TypeError, AttributeError) as problem:
        raise AtomtuneError(
            f"{path} is incomplete ({excerpt(problem)})", "delete it; it is made again when needed"
        ) from None
    return result, header


def _layout(entry: Mapping[str, Any]) -> RowLayout:
    """A layer's layout from JSON. Raises LookupError, TypeError or ValueError where it is none."""
    shape, tile = entry["shape"], entry["tile"]
    if not (isinstance(shape, list) and 2 <= len(shape) <= 5 and all(type(side) is int for side in shape)):
        raise ValueError("a shape is not of two to five whole numbers")
    if not all(0 < side < _HUGE for side in shape):
        raise ValueError("a shape is impossible")
    if tile is None and len(shape) > 2:
        return RowLayout(tuple(shape), None)
    p, q = tile
    taps = math.prod(shape[2:])
    if not (type(p) is int and type(q) is int and p > 0 and q > 0 and shape[0] % p == 0 and q % taps == 0):
        raise ValueError("a tile does not fit its shape")
    if shape[1] % (q // taps) != 0:
        raise ValueError("a tile does not fit its shape")
    return RowLayout(tuple(shape), (p, q))


def spec_of(path: Path, header: Mapping[str, str]) -> dict[str, Any]:
    """The spec in a header, as the method's fields. Raises AtomtuneError where it is damaged."""
    try:
        spec = parse_json(header["spec"])
    except (KeyError, ValueError) as problem:
        raise AtomtuneError(
            f"{path} names no spec ({excerpt(problem)})", "delete it; it is made again when needed"
        ) from None
    if not isinstance(spec, dict):
        raise AtomtuneError(f"{path} names no spec", "delete it; it is made again when needed")
    return spec
