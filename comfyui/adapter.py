"""A weight adapter for atoms, and the two places of ComfyUI where it needs to know more than an adapter is told.

ΔW = α·ΔD, and α follows from the *base* weight. ComfyUI hands an adapter the weight as the patches before it left it;
so `calculate_weight` is wrapped, and turns atoms into a plain difference before any patch has touched the weight. λ is
in the file's metadata, which ComfyUI does not hand to adapters; so `load_torch_file` is wrapped, and reads atoms files
with atomtune's own checks.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import comfy.lora
import comfy.utils
import comfy.weight_adapter
import torch
from comfy.weight_adapter.base import WeightAdapterBase
from torch import Tensor

from atomtune.core.stored import NAMES
from atomtune.files.atoms_file import AtomsInfo
from atomtune.files.stored_layers import StoredLayer, is_atoms_file, name_for_comfyui, read_stored_layers

ORIGIN = "origin"
"""Stands beside the tensors of a layer: λ, and the width of the base model's text embeddings."""


class AtomsAdapter(WeightAdapterBase):
    """The atoms of one layer."""

    name = "atoms"

    def __init__(self, layer: StoredLayer) -> None:
        self.layer = layer
        self.weights = list(layer.tensors.values())
        self.loaded_keys = {f"{layer.name}.{name}" for name in (*layer.tensors, ORIGIN)}

    @classmethod
    def load(cls, x: str, lora: Mapping[str, Tensor], *_: Any) -> "AtomsAdapter | None":
        """The adapter of the layer that ComfyUI calls `x`, where the file has atoms for it."""
        layer = name_for_comfyui(x)
        if not any(f"{layer}.{name}" in lora for name in ("delta_atoms", "delta_coefficients")):
            return None
        if f"{layer}.{ORIGIN}" not in lora:
            raise ValueError(
                "this loader reads an atoms file without its metadata, which say how the base weights were decomposed: "
                "use Load LoRA or Load Atoms"
            )
        tensors = {name: lora[f"{layer}.{name}"] for name in NAMES if f"{layer}.{name}" in lora}
        sparsity, text_width = lora[f"{layer}.{ORIGIN}"].tolist()
        return cls(StoredLayer(layer, tensors, sparsity, int(text_width)))

    def calculate_weight(self, weight: Tensor, key: str, *_: Any, **__: Any) -> Tensor:
        """Never reached through `comfy.lora.calculate_weight`, see `install`."""
        raise NotImplementedError(
            f"atoms need the base weight of {key}, which this part of ComfyUI, or an extension of it, does not give"
        )


def read_atoms(path: Path) -> tuple[dict[str, Tensor], AtomsInfo]:
    """An atoms file as adapters take it, and its description. Raises ValueError as `read_stored_layers`."""
    layers, info = read_stored_layers(path)
    tensors = {f"{layer.name}.{name}": tensor for layer in layers.values() for name, tensor in layer.tensors.items()}
    origins = {
        f"{name}.{ORIGIN}": torch.tensor([layer.sparsity, layer.text_width], dtype=torch.float64)
        for name, layer in layers.items()
    }
    return tensors | origins, info


def install() -> None:
    """Add the adapter to ComfyUI's list, and wrap the two functions; once, however often this is called."""
    adapters = comfy.weight_adapter.adapters
    if any(getattr(adapter, "name", None) == AtomsAdapter.name for adapter in adapters):
        return
    adapters.append(AtomsAdapter)
    comfy.lora.calculate_weight = _from_base_weights(comfy.lora.calculate_weight)
    comfy.utils.load_torch_file = _with_metadata(comfy.utils.load_torch_file)


def _from_base_weights(calculate_weight: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @wraps(calculate_weight)
    def wrapper(patches: Sequence[Any], weight: Tensor, key: str, *args: Any, **options: Any) -> Tensor:
        if any(isinstance(patch[1], AtomsAdapter) for patch in patches):
            base = _base_weight(weight, key, options.get("original_weights"))
            patches = [_as_difference(patch, base, key) for patch in patches]
        return calculate_weight(patches, weight, key, *args, **options)

    return wrapper


def _as_difference(patch: tuple[Any, ...], base: Tensor, key: str) -> tuple[Any, ...]:
    strength, value, strength_model, offset, function = patch
    if not isinstance(value, AtomsAdapter):
        return patch
    if offset is not None:
        raise ValueError(f"atoms change whole weights, and only a part of {key} is asked for")
    return strength, ("diff", (value.layer.delta(base),)), strength_model, offset, function


def _base_weight(weight: Tensor, key: str, originals: Mapping[str, Any] | None) -> Tensor:
    """The weight before any patch; with hooks ComfyUI patches weights that have patches already."""
    if not originals or key not in originals:
        return weight
    original, convert = originals[key][0]
    return convert(original.to(weight.device, weight.dtype, copy=True), inplace=True)


def _with_metadata(load_torch_file: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(load_torch_file)
    def wrapper(ckpt: Any, *args: Any, **options: Any) -> Any:
        if is_atoms_file(ckpt):
            tensors, _ = read_atoms(Path(ckpt))
            if not options.get("return_metadata"):
                return tensors
            return tensors, load_torch_file(ckpt, *args, **options)[1]
        return load_torch_file(ckpt, *args, **options)

    return wrapper
