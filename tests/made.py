"""Atoms files made without training (random deltas, described as if they had been trained), and merging."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from atomtune.adapt import DEFAULT, adapted_layers, detach
from atomtune.core.fingerprint import fingerprint
from atomtune.export.export import export
from atomtune.export.options import ExportOptions
from atomtune.export.result import ExportResult
from atomtune.files.atoms_file import AtomsInfo, save_atoms
from atomtune.methods.atoms import Atoms, decompose_model
from atomtune.methods.merging import PartChanges, merged_tensors
from atomtune.methods.specs import PRESETS, AtomsSpec, preset_name
from atomtune.models.architecture import architecture_of
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.runtime.progress import Events

WHOLE = 1000
"""A rank beyond every side of the tiny models."""


def made_atoms(
    path: Path, model: Path, strength: float = 0.02, seed: int = 0, preset: str | None = None, **changes: Any
) -> Path:
    """Write an atoms file for a base model whose change shows in images; of all layers, without a preset."""
    unet = load_pipeline(resolve(str(model))).unet
    spec = PRESETS[preset] if preset else AtomsSpec(atoms=6, tile=4)
    deltas = Atoms().create(unet, spec, decompose_model(unet, spec))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for delta in deltas.values():
            for parameter in delta.parameters():
                parameter.copy_(strength * torch.randn(parameter.shape, generator=generator))
    info: dict[str, Any] = {
        "method": Atoms.name,
        "preset": preset_name(spec),
        "spec": spec.to_dict(),
        "base": str(model),
        "base_fingerprint": fingerprint(unet),
        "architecture": architecture_of(unet),
        "concept": "castle",
        "class_noun": "castle",
        "token": "sks",
        "prompts": ["a photo of a sks castle"],
        "steps": 300,
        "parameters": sum(p.numel() for delta in deltas.values() for p in delta.parameters()),
        "training": {},
    }
    save_atoms(path, AtomsInfo(**info | changes), Atoms().export(deltas))
    return path


def export_to(
    files: Sequence[tuple[Path, float]],
    output: Path,
    overwrite: bool = False,
    events: Events | None = None,
    **said: Any,
) -> ExportResult:
    """Export without images, but for what is said."""
    chosen: dict[str, Any] = {"weighted": False, "preview": False}
    if not {"rank", "psnr"} & set(said) and said.get("to", "lora").startswith("lora"):
        chosen["rank"] = WHOLE
    return export(files, output, ExportOptions(**chosen | said), overwrite=overwrite, events=events)


def merge(model: nn.Module) -> None:
    """Write what `methods.merging` makes of the attached deltas into the base weights, and remove the deltas."""
    layers = adapted_layers(model)
    deltas = {f"{path}.weight": layer.deltas[DEFAULT].delta_weight(layer.weight) for path, layer in layers.items()}
    merged = list(merged_tensors(model, [(PartChanges(deltas), 1.0)]))
    with torch.no_grad():
        for _, weight, value in merged:
            weight.copy_(value)
    detach(model)
