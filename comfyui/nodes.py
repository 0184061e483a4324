"""The node Load Atoms."""

from pathlib import Path
from typing import Any

import comfy.lora
import folder_paths

from atomtune.runtime.units import counted

from .adapter import AtomsAdapter, read_atoms

_FOLDER = "loras"
_STRENGTH = {"default": 1.0, "min": -10.0, "max": 10.0, "step": 0.05}


class LoadAtoms:
    """Adds the atoms of one file to a model and its text encoder, exactly as `atomtune sample` does.

    All of the file is used, or nothing: what does not fit this model is an error.
    """

    CATEGORY = "loaders"
    DESCRIPTION = "Loads a concept that atomtune has learned. Nodes can be chained, also with Load LoRA."
    FUNCTION = "load"
    RETURN_TYPES = ("MODEL", "CLIP", "STRING")
    RETURN_NAMES = ("model", "clip", "concept")
    OUTPUT_TOOLTIPS = ("", "", "The words that stand for the concept in prompts.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """ComfyUI's description of the inputs."""
        return {
            "required": {
                "model": ("MODEL",),
                "file": (folder_paths.get_filename_list(_FOLDER), {"tooltip": "An atoms file in models/loras."}),
                "strength_model": ("FLOAT", {**_STRENGTH, "tooltip": "Scale of the change of the UNet."}),
                "strength_clip": ("FLOAT", {**_STRENGTH, "tooltip": "Scale of the change of the text encoder."}),
            },
            "optional": {"clip": ("CLIP", {"tooltip": "Needed where the text encoder was trained too."})},
        }

    def load(
        self, model: Any, file: str, strength_model: float, strength_clip: float, clip: Any = None
    ) -> tuple[Any, Any, str]:
        """The model and the text encoder with the atoms among their patches, and the concept's words.

        Raises ValueError where the file cannot be used whole.
        """
        tensors, info = read_atoms(Path(folder_paths.get_full_path_or_raise(_FOLDER, file)))
        names = comfy.lora.model_lora_keys_unet(model.model, {})
        weights = model.model.state_dict()
        if clip is not None:
            names = comfy.lora.model_lora_keys_clip(clip.cond_stage_model, names)
            weights = weights | clip.cond_stage_model.state_dict()
        # what it does not find is said below, in more words than a warning has
        found = {
            key: patch
            for key, patch in comfy.lora.load_lora(tensors, names, log_missing=False).items()
            if isinstance(patch, AtomsAdapter)
        }
        layers = {key.rpartition(".")[0] for key in tensors}
        if missing := sorted(layers - {adapter.layer.name for adapter in found.values()}):
            needs_clip = clip is None and all(layer.startswith("text_encoder") for layer in missing)
            hint = "connect clip" if needs_clip else f"it was trained on {info.base} ({info.architecture})"
            raise ValueError(
                f"{file} changes {counted(len(missing), 'layer')} that are not here, as {missing[0]}: {hint}"
            )
        for key, adapter in found.items():
            try:
                adapter.layer.check(weights[key].shape)
            except ValueError as problem:
                raise ValueError(f"{problem}. {file} was trained on {info.base} ({info.architecture})") from None
        model = model.clone()
        model.add_patches(found, strength_model)
        if clip is not None:
            clip = clip.clone()
            clip.add_patches(found, strength_clip)
        return model, clip, info.trigger


NODE_CLASS_MAPPINGS = {"AtomtuneLoadAtoms": LoadAtoms}
NODE_DISPLAY_NAME_MAPPINGS = {"AtomtuneLoadAtoms": "Load Atoms"}
