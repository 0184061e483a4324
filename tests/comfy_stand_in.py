"""ComfyUI's public interfaces as far as a custom node meets them, for tests: models of named weights with patches.

Stricter than ComfyUI, which logs a warning for a key of a file that nothing takes: here that is an error.

What ComfyUI calls a layer follows from its name in diffusers by a rule: `own_name` for the weight, and `lora_name` for
what its loader looks for in files whose layers are named as diffusers names them.
"""

import sys
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from atomtune.adapt import adaptable_layers
from atomtune.export.lora_keys import original_name


class WeightAdapterBase:
    """What an adapter is derived from."""

    name: str
    loaded_keys: set[str]


def lora_name(layer: str) -> str:
    """Projections of attention were attributes of diffusers' processors once, and are still called so."""
    name = layer.replace(".to_", ".processor.to_")
    return name.removesuffix(".0") if name.endswith(".to_out.0") else name


def own_name(layer: str, config: Any) -> str:
    """The name of a UNet's weight."""
    return f"diffusion_model.{original_name(layer, config)}.weight"


class Model(nn.Module):
    """A model of weights with ComfyUI's names; `names` are those that its loader looks for, with what they mean."""

    def __init__(self, weights: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
        super().__init__()
        self.weights, self.names = dict(weights), dict(names)

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Any]:
        return self.weights


def unet_model(unet: Any) -> Model:
    """The UNet of a pipeline as ComfyUI has it."""
    layers = {name: layer.weight for name, layer in adaptable_layers(unet).items()}
    own = {name: own_name(name, unet.config) for name in layers}
    names = {lora_name(name): own[name] for name in layers}
    names |= {f"lora_unet_{name.replace('.', '_')}": own[name] for name in layers}
    return Model({own[name]: weight.detach() for name, weight in layers.items()}, names)


def clip_model(encoder: Any, part: str = "text_encoder", prefix: str = "clip_l") -> Model:
    """A text encoder as ComfyUI has it."""
    own = clip_names(encoder, prefix)
    names = {own[name].replace(f"{prefix}.transformer", part, 1).removesuffix(".weight"): own[name] for name in own}
    return Model({own[name]: encoder.get_parameter(f"{name}.weight").detach() for name in own}, names)


def clip_names(encoder: Any, prefix: str = "clip_l") -> dict[str, str]:
    """The names of a text encoder's weights, by layer."""
    layers = adaptable_layers(encoder)
    return {name: f"{prefix}.transformer.text_model.{name.removeprefix('text_model.')}.weight" for name in layers}


class Patcher:
    """A model with patches; `clone` shares the weights."""

    def __init__(self, model: Model) -> None:
        self.model = self.cond_stage_model = model
        self.patches: dict[str, list[Any]] = {}

    def clone(self) -> "Patcher":
        other = copy(self)
        other.patches = {key: list(patches) for key, patches in self.patches.items()}
        return other

    def add_patches(self, patches: Mapping[str, Any], strength_patch: float = 1.0, strength_model: float = 1.0) -> None:
        for key, patch in patches.items():
            if key in self.model.state_dict():
                self.patches.setdefault(key, []).append((strength_patch, patch, strength_model, None, None))

    def patched(self, key: str) -> Tensor:
        """The weight that the model would work with."""
        comfy: Any = sys.modules["comfy.lora"]
        weight = self.model.state_dict()[key]
        return comfy.calculate_weight(self.patches[key], weight.float().clone(), key)

    def as_patch(self, key: str) -> list[Any]:
        """The weight and its patches, as merging nodes hand them to another model."""
        return [(self.model.state_dict()[key], lambda weight, inplace: weight), *self.patches.get(key, [])]


def load_lora_file(model: Patcher, clip: Patcher | None, path: Path, strength: float) -> tuple[Patcher, Patcher | None]:
    """What Load LoRA does."""
    modules: Any = sys.modules
    tensors = modules["comfy.utils"].load_torch_file(str(path), safe_load=True)
    lora = modules["comfy.lora"]
    names = lora.model_lora_keys_unet(model.model, {})
    if clip is not None:
        names = lora.model_lora_keys_clip(clip.cond_stage_model, names)
    loaded = lora.load_lora(tensors, names)
    model = model.clone()
    model.add_patches(loaded, strength)
    if clip is not None:
        clip = clip.clone()
        clip.add_patches(loaded, strength)
    return model, clip


def _module(name: str, **members: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(members)
    return module


def install(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Put the modules in place, with `folder` as that of LoRA files."""
    adapters: list[Any] = []

    def load_lora(lora: Mapping[str, Tensor], to_load: Mapping[str, str], log_missing: bool = True) -> dict[str, Any]:
        found, taken = {}, set()
        for name, key in to_load.items():
            for adapter in adapters:
                made = adapter.load(name, lora, None, None, taken)
                if made is not None:
                    found[key] = made
                    taken |= made.loaded_keys
        if log_missing and (left := sorted(set(lora) - taken)):
            raise KeyError(f"{len(left)} keys of the file match nothing: {left[:3]}")
        return found

    def calculate_weight(
        patches: Sequence[Any],
        weight: Tensor,
        key: str,
        intermediate_dtype: torch.dtype = torch.float32,
        original_weights: Mapping[str, Any] | None = None,
    ) -> Tensor:
        for strength, value, strength_model, offset, _ in patches:
            weight *= strength_model
            if isinstance(value, list):  # another model's weight with its own patches
                (other, convert), *others = value
                value = (lora.calculate_weight(others, convert(other.float().clone(), inplace=True), key),)
            if isinstance(value, WeightAdapterBase):
                weight = value.calculate_weight(  # type: ignore[attr-defined]
                    weight, key, strength, strength_model, offset, None, intermediate_dtype, original_weights
                )
                continue
            (difference,) = value[1] if len(value) == 2 else value
            assert difference.shape == weight.shape
            weight += strength * difference.to(weight.dtype)
        return weight

    lora: Any = _module(
        "comfy.lora",
        load_lora=load_lora,
        calculate_weight=calculate_weight,
        model_lora_keys_unet=lambda model, names: names | model.names,
        model_lora_keys_clip=lambda model, names: names | model.names,
    )
    base = _module("comfy.weight_adapter.base", WeightAdapterBase=WeightAdapterBase)
    weight_adapter = _module("comfy.weight_adapter", adapters=adapters, base=base)
    utils = _module("comfy.utils", load_torch_file=lambda path, safe_load=False: load_file(path))
    comfy = _module("comfy", lora=lora, utils=utils, weight_adapter=weight_adapter)
    paths = SimpleNamespace(
        get_filename_list=lambda kind: sorted(path.name for path in folder.iterdir()),
        get_full_path_or_raise=lambda kind, name: str(folder / name),
    )
    for module in (comfy, lora, utils, weight_adapter, base):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "folder_paths", paths)  # type: ignore[arg-type]
