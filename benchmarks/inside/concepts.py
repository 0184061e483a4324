"""Files of concepts without training: atoms and LoRA with random changes, which cost what trained ones do."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from atomtune.core.fingerprint import fingerprint
from atomtune.files.atoms_file import AtomsInfo, save_atoms
from atomtune.methods.atoms import chosen_layers, decompose_model
from atomtune.methods.specs import PRESETS
from atomtune.models.architecture import architecture_of

PRESET = "c2"
RANK = 4
STRENGTH = 1e-3  # of the random changes; small, so that merged weights stay finite


def write_atoms(folder: Path, unet: nn.Module, names: list[str]) -> list[Path]:
    """Write an atoms file of the preset C2 for each name."""
    spec = PRESETS[PRESET]
    atoms = {name: part.atoms.half().cpu() for name, part in decompose_model(unet, spec).items()}
    shared: dict[str, Any] = {
        "method": "atoms",
        "preset": PRESET,
        "spec": spec.to_dict(),
        "base": "random",
        "base_fingerprint": fingerprint(unet),
        "architecture": architecture_of(unet),
        "token": "sks",
        "prompts": [],
        "steps": 0,
        "training": {},
    }
    generator = torch.Generator().manual_seed(0)
    files = []
    for concept in names:
        tensors: dict[str, Tensor] = {}
        for name, own in atoms.items():
            tensors[f"{name}.atoms"] = own
            tensors[f"{name}.delta_atoms"] = (STRENGTH * torch.randn(own.shape, generator=generator)).half()
        count = sum(own.numel() for own in atoms.values())
        info = AtomsInfo(**shared, concept=concept, class_noun=concept, parameters=count)
        save_atoms(folder / f"{concept}.safetensors", info, tensors)
        files.append(folder / f"{concept}.safetensors")
    return files


def write_lora(folder: Path, unet: nn.Module, names: list[str]) -> list[Path]:
    """Write a LoRA in peft's format on the same layers for each name; the UNet stays as it is."""
    layers = list(chosen_layers(unet, PRESETS[PRESET]))
    files = []
    for concept in names:
        torch.manual_seed(0)
        # weights that are not at their start, where nothing would change
        config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=layers, init_lora_weights=False)
        model: Any = get_peft_model(unet, config)
        model.save_pretrained(folder / concept)
        model.unload()
        files.append(folder / concept)
    return files
