"""What `inspect` says of a file: kind, spec, base model and counts, without a model."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import AtomtuneError, excerpt, printable
from ..methods.specs import AtomsSpec, preset_name
from . import atoms_file, decomposition_file, store
from .png import is_png, read_png_texts
from .untrusted_json import parse_json

PNG_FACTS = (
    *("prompt", "negative_prompt", "seed", "steps", "guidance_scale", "scheduler", "size", "base", "atoms", "atomtune"),
)
"""What `sample` writes into a PNG, see `sampling.sample`."""

_PURPOSES = {"checkpoint": "is for atomtune train --resume", "lora": "is for other programs"}


def describe(path: Path) -> dict[str, Any]:
    """Facts of an atoms or decomposition file, checked as for use. Stable keys: kind, preset, base, parameters, ….

    Of a PNG of `sample` its prompt and settings, as it holds them; of another program's PNG its text "parameters", as
    `settings`.

    Raises AtomtuneError where the file is missing, damaged, altered or foreign.
    """
    if is_png(path):
        return _of_png(path)
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


def _of_png(path: Path) -> dict[str, Any]:
    width, height, texts = read_png_texts(path)
    common = {"kind": "image", "path": str(path), "bytes": path.stat().st_size, "width": width, "height": height}
    try:
        facts = parse_json(texts["atomtune"])
    except (LookupError, ValueError):
        facts = None
    if isinstance(facts, dict):
        return {**common, **{name: _shown(facts[name]) for name in PNG_FACTS if name in facts}}
    if "parameters" in texts:
        return {**common, "settings": _shown(texts["parameters"])}
    raise AtomtuneError(
        f"{path} is a PNG image that does not say how it was generated", "inspect shows images of atomtune sample"
    )


def _shown(value: Any) -> Any:
    """A value of a file that anybody may have written, without what would steer a terminal."""
    if isinstance(value, dict):
        return {printable(str(key)): _shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(item) for item in value]
    return printable(value) if isinstance(value, str) else value
