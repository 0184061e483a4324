"""What `inspect` says of a file: kind, spec, base model and counts, without a model."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import AtomtuneError, excerpt
from ..methods.specs import AtomsSpec, preset_name
from . import atoms_file, decomposition_file, store

_PURPOSES = {"checkpoint": "is for atomtune train --resume", "lora": "is for other programs"}


def describe(path: Path) -> dict[str, Any]:
    """Facts of an atoms or decomposition file, checked as for use. Stable keys: kind, preset, base, parameters, ….

    Raises AtomtuneError where the file is missing, damaged, altered or foreign.
    """
    header = store.read_header(path)
    kind = header["format"].removeprefix("atomtune.")
    common = {"kind": kind, "path": str(path), "bytes": path.stat().st_size, "sha256": header.get("sha256", "")}
    if kind == atoms_file.KIND:
        tensors, info, _ = atoms_file.load_atoms(path)
        layers = {name.rsplit(".", 1)[0] for name in tensors}
        return {**common, **asdict(info), "trigger": info.trigger, "layers": len(layers)}
    if kind == decomposition_file.KIND:
        decomposition, header = decomposition_file.load_decomposition(path)
        spec = AtomsSpec.from_dict(decomposition_file.spec_of(path, header))
        return {
            **common,
            "preset": preset_name(spec),
            "spec": spec.to_dict(),
            "base": header["base"],
            "base_fingerprint": header["base_fingerprint"],
            "parameters": sum(part.atoms.numel() for part in decomposition.values()),
            "coefficients": sum(part.layout.count * len(part.atoms) for part in decomposition.values()),
            "layers": len(decomposition),
            "tool_version": header.get("tool_version", ""),
        }
    purpose = _PURPOSES.get(kind, "this atomtune does not know")
    hint = "inspect shows atoms files and decomposition files"
    raise AtomtuneError(f"{path} is a {excerpt(kind)}, which {purpose}", hint)
