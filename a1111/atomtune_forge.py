"""Atoms files in Forge, whose patches are applied as ComfyUI's are, and not by a list of module types."""

from collections.abc import Sequence
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from atomtune.files.atoms_file import AtomsInfo
from atomtune.files.stored_layers import StoredLayer, is_atoms_file, name_for_comfyui, read_stored_layers
from atomtune.runtime.units import counted


class AtomsFile(dict[str, StoredLayer]):
    """The layers of a file, in place of the tensors of a LoRA file."""

    info: AtomsInfo


def install(networks: ModuleType) -> None:
    """Read atoms files, and make differences of them from the base weights; once, however often this is called.

    Args:
        networks: the module of this name of Forge's extension for LoRA files.
    """
    from backend import operations
    from backend.patcher import lora

    if hasattr(networks.load_lora_state_dict, "reads_atoms"):
        return
    read_others, load_others = networks.load_lora_state_dict, networks.load_lora_for_models
    merge = lora.merge_lora_to_weight

    @wraps(read_others)
    def load_lora_state_dict(filename: str) -> Any:
        if not is_atoms_file(filename):
            return read_others(filename)
        layers, info = read_stored_layers(Path(filename))
        file = AtomsFile(layers)
        file.info = info
        return file

    @wraps(load_others)
    def load_lora_for_models(model: Any, clip: Any, file: Any, *args: Any, **options: Any) -> Any:
        return (_load if isinstance(file, AtomsFile) else load_others)(model, clip, file, *args, **options)

    @wraps(merge)
    def merge_lora_to_weight(patches: Sequence[Any], weight: Tensor, *args: Any, **options: Any) -> Tensor:
        if any(isinstance(patch[1], StoredLayer) for patch in patches):
            patches = [_as_difference(patch, weight) for patch in patches]
        return merge(patches, weight, *args, **options)

    load_lora_state_dict.reads_atoms = True  # type: ignore[attr-defined]
    networks.load_lora_state_dict, networks.load_lora_for_models = load_lora_state_dict, load_lora_for_models
    # used under both names: for weights that are merged, and for those that are patched as they are used
    lora.merge_lora_to_weight = operations.merge_lora_to_weight = merge_lora_to_weight


def _load(
    model: Any,
    clip: Any,
    file: AtomsFile,
    strength_model: float,
    strength_clip: float,
    filename: str = "default",
    online_mode: bool = False,
) -> tuple[Any, Any]:
    """Forge's `load_lora_for_models`, for all of a file or nothing."""
    from backend.patcher.lora import model_lora_keys_clip, model_lora_keys_unet

    unet = _patches(file, model_lora_keys_unet(model.model, {}), model.model)
    text = _patches(file, model_lora_keys_clip(clip.cond_stage_model, {}), clip.cond_stage_model)
    if missing := sorted(set(file) - {layer.name for layer in (*unet.values(), *text.values())}):
        raise ValueError(
            f"{Path(filename).name} changes {counted(len(missing), 'layer')} that this model does not have, "
            f"as {missing[0]}: "
            f"it was trained on {file.info.base} ({file.info.architecture})"
        )
    model, clip = model.clone(), clip.clone()
    for patcher, patches, strength in ((model, unet, strength_model), (clip, text, strength_clip)):
        if patches:
            patcher.add_patches(filename=filename, patches=patches, strength_patch=strength, online_mode=online_mode)
    return model, clip


def _patches(file: AtomsFile, names: dict[str, Any], model: Any) -> dict[str, StoredLayer]:
    """The layers of a file that a model has, by its own names; checked against its weights."""
    weights = dict(model.named_parameters())
    found = {}
    for name, key in names.items():
        layer = file.get(name_for_comfyui(name))
        if layer is not None and key in weights:
            layer.check(weights[key].shape)
            found[key] = layer
    return found


def _as_difference(patch: Sequence[Any], base: Tensor) -> Sequence[Any]:
    strength, layer, *rest = patch
    if not isinstance(layer, StoredLayer):
        return patch
    return [strength, ("diff", (layer.delta(base),)), *rest]
