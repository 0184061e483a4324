"""The decomposition file: a cache of coefficients and atoms of one base model under one spec. Always safe to delete."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import __version__
from ..core.decompose import Decomposition
from ..core.rows import RowLayout
from ..errors import AtomtuneError
from . import store

KIND = "decomposition"


def save_decomposition(
    path: Path,
    decomposition: Mapping[str, Decomposition],
    base: str,
    base_fingerprint: str,
    spec: Mapping[str, Any],
    report: Any,
) -> None:
    """Write one base model's decomposition, layer by layer: "LAYER.atoms" and "LAYER.coefficients".

    `report` is what was measured while it was made, as JSON; it comes back in the metadata.
    """
    tensors: dict[str, Tensor] = {}
    layouts: dict[str, Any] = {}
    for name, part in decomposition.items():
        tensors[f"{name}.atoms"] = part.atoms.half()
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
    store.save(path, KIND, tensors, metadata)


def load_decomposition(path: Path) -> tuple[dict[str, Decomposition], dict[str, str]]:
    """The layers of a decomposition file and its metadata. Raises AtomtuneError where it is missing or damaged."""
    tensors, header = store.load(path, KIND)
    try:
        result = {}
        if missing := {"base", "base_fingerprint", "spec", "report"} - set(header):
            raise KeyError(*sorted(missing))
        for name, entry in json.loads(header["layers"]).items():
            layout = RowLayout(tuple(entry["shape"]), tuple(entry["tile"]) if entry["tile"] else None)
            atoms, coefficients = tensors[f"{name}.atoms"].float(), tensors[f"{name}.coefficients"]
            if coefficients.shape != (layout.count, atoms.shape[0]) or atoms.shape[1] != layout.length:
                raise ValueError(f"{name} has shapes that do not fit")
            result[name] = Decomposition(layout, atoms, coefficients, float(entry["sparsity"]))
    except (LookupError, ValueError, TypeError, AttributeError, ZeroDivisionError) as problem:
        raise AtomtuneError(f"{path} is incomplete ({problem})", "delete it; it is made again when needed") from None
    return result, header


def spec_of(path: Path, header: Mapping[str, str]) -> dict[str, Any]:
    """The spec in a header, as the method's fields. Raises AtomtuneError where it is damaged."""
    try:
        spec = json.loads(header["spec"])
    except (KeyError, ValueError) as problem:
        raise AtomtuneError(f"{path} names no spec ({problem})", "delete it; it is made again when needed") from None
    if not isinstance(spec, dict):
        raise AtomtuneError(f"{path} names no spec", "delete it; it is made again when needed")
    return spec
