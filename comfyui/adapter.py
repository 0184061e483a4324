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
from safetensors import SafetensorError, safe_open
from torch import Tensor

from atomtune.core.stored import NAMES, stored_delta, stored_layout
from atomtune.errors import AtomtuneError
from atomtune.files.atoms_file import AtomsInfo, load_atoms

ORIGIN = "origin"
"""Stands beside the tensors of a layer: λ, and the width of the text embeddings that the base model takes, or 0."""

_TEXT_WIDTHS = {"stable-diffusion-v1": 768, "stable-diffusion-v2": 1024, "stable-diffusion-xl": 2048}
_READS_TEXT = (".attn2.to_k", ".attn2.to_v")

_CLIP_NAMES = {"lora_te2_text_projection": "text_encoder_2.text_projection"}
"""Layers for which ComfyUI has no name like diffusers'."""


class AtomsAdapter(WeightAdapterBase):
    """One layer's atoms.

    Attributes:
        layer: its name in the atoms file.
        weights: its tensors by `NAMES`.
        sparsity: λ.
        text_width: of the text embeddings that the base model takes; 0 where it is not known.
    """

    name = "atoms"

    def __init__(self, layer: str, weights: Mapping[str, Tensor], sparsity: float, text_width: int) -> None:
        self.layer = layer
        self.weights = dict(weights)
        self.sparsity = sparsity
        self.text_width = text_width
        self.loaded_keys = {f"{layer}.{name}" for name in (*weights, ORIGIN)}

    @classmethod
    def load(cls, x: str, lora: Mapping[str, Tensor], *_: Any) -> "AtomsAdapter | None":
        """The adapter of the layer that ComfyUI calls `x`, where the file has atoms for it."""
        layer = name_in_file(x)
        if f"{layer}.delta_atoms" not in lora:
            return None
        if f"{layer}.{ORIGIN}" not in lora:
            raise ValueError(
                "this loader reads an atoms file without its metadata, which say how the base weights were decomposed: "
                "use Load LoRA or Load Atoms"
            )
        weights = {name: lora[f"{layer}.{name}"] for name in NAMES if f"{layer}.{name}" in lora}
        sparsity, text_width = lora[f"{layer}.{ORIGIN}"].tolist()
        return cls(layer, weights, sparsity, int(text_width))

    def difference(self, weight: Tensor) -> Tensor:
        """ΔW for the base weight, float32. Raises ValueError as `check`, and where the weight is not finite."""
        self.check(weight.shape)
        try:
            return stored_delta(weight, self.weights, self.sparsity)
        except ValueError as problem:
            raise ValueError(f"the atoms of {self.layer} do not fit this model: {problem}") from None

    def check(self, shape: Sequence[int]) -> None:
        """Raise ValueError that names the layer where it cannot be of a weight of this shape."""
        try:
            stored_layout(shape, self.weights)
            # the tiles of wider layers can have the same shapes, as those of SD v1 and v2 have
            if self.text_width and self.layer.endswith(_READS_TEXT) and shape[1] != self.text_width:
                raise ValueError(f"they are for text embeddings of width {self.text_width}, not {shape[1]}")
        except ValueError as problem:
            raise ValueError(f"the atoms of {self.layer} do not fit this model: {problem}") from None

    def calculate_weight(self, weight: Tensor, key: str, *_: Any, **__: Any) -> Tensor:
        """Never reached through `comfy.lora.calculate_weight`, see `install`."""
        raise NotImplementedError(
            f"atoms need the base weight of {key}, which this part of ComfyUI, or an extension of it, does not give"
        )


def name_in_file(x: str) -> str:
    """What an atoms file calls a layer that has the name `x` of diffusers' LoRA files in ComfyUI."""
    name = x.replace(".processor.to_", ".to_")
    if name.endswith(".to_out"):
        name += ".0"
    return _CLIP_NAMES.get(name, name.replace(".text_model.", ".", 1))


def read_atoms(path: Path) -> tuple[dict[str, Tensor], AtomsInfo]:
    """An atoms file as adapters take it, λ beside the tensors of every layer; and its description.

    Raises ValueError where the file is damaged, or holds something else than atoms.
    """
    try:
        tensors, info, _ = load_atoms(path)
    except AtomtuneError as problem:
        raise ValueError(f"{problem}. {problem.hint}") from None
    hint = "atomtune export makes a file of another kind of it"
    if info.method != "atoms":
        raise ValueError(f"{path.name} was tuned by {info.method}, and only atoms are read here: {hint}")
    layers, width = {}, text_width(info.architecture)
    for key in tensors:
        layer, _, name = key.rpartition(".")
        if name not in NAMES:
            raise ValueError(f"{path.name} also changes {key}, which cannot be read here: {hint}")
        layers[f"{layer}.{ORIGIN}"] = torch.tensor([info.spec["sparsity"], width], dtype=torch.float64)
    return tensors | layers, info


def text_width(architecture: str) -> int:
    """The width of the text embeddings that a UNet of this architecture takes; 0 where its name does not say it."""
    for name, width in _TEXT_WIDTHS.items():
        if architecture.startswith(name):
            return width
    last = architecture.rpartition("-")[2]  # as in UNet2DConditionModel-64-48
    return int(last) if last.isdecimal() and len(last) < 6 else 0


def install() -> None:
    """Add the adapter to ComfyUI's list, and wrap the two functions; once, however often this is called."""
    adapters = comfy.weight_adapter.adapters
    if any(adapter.name == AtomsAdapter.name for adapter in adapters if hasattr(adapter, "name")):
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
    strength, value, *rest = patch
    if not isinstance(value, AtomsAdapter):
        return patch
    if rest[1] is not None:
        raise ValueError(f"atoms change whole weights, and only a part of {key} is asked for")
    return (strength, ("diff", (value.difference(base),)), *rest)


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


def is_atoms_file(path: Any) -> bool:
    """Whether a path is that of a safetensors file which atomtune wrote; its header alone is read."""
    if not str(path).endswith((".safetensors", ".sft")):
        return False
    try:
        with safe_open(path, framework="pt") as handle:
            return (handle.metadata() or {}).get("format") == "atomtune.atoms"
    except (OSError, SafetensorError):
        return False  # for ComfyUI to say what is wrong
