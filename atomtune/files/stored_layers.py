"""An atoms file layer by layer, for programs that have a layer's weight at hand and nothing else of atomtune.

Errors are ValueErrors, which those programs show as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..core.stored import NAMES, stored_delta, stored_layout
from ..errors import AtomtuneError
from .atoms_file import AtomsInfo, load_atoms

_TEXT_WIDTHS = {"stable-diffusion-v1": 768, "stable-diffusion-v2": 1024, "stable-diffusion-xl": 2048}
_READS_TEXT = (".attn2.to_k", ".attn2.to_v")


@dataclass(frozen=True)
class StoredLayer:
    """What a file holds of one layer.

    Attributes:
        name: of the layer, in the file.
        tensors: by `core.stored.NAMES`.
        sparsity: λ of the decomposition.
        text_width: of the text embeddings that the base model takes; 0 where it is not known.
    """

    name: str
    tensors: Mapping[str, Tensor]
    sparsity: float
    text_width: int

    def delta(self, weight: Tensor) -> Tensor:
        """ΔW for the untouched base weight, (weight shape), float32, where the weight is.

        Raises ValueError as `check`, and where the weight is not finite.
        """
        self.check(weight.shape)
        try:
            return stored_delta(weight, self.tensors, self.sparsity)
        except ValueError as problem:
            raise self._unfit(problem) from None

    def check(self, shape: Sequence[int]) -> None:
        """Raise ValueError that names the layer where it cannot be of a weight of this shape."""
        try:
            stored_layout(shape, self.tensors)
            # the tiles of wider layers can have the same shapes, as those of SD v1 and v2 have
            if self.text_width and self.name.endswith(_READS_TEXT) and shape[1] != self.text_width:
                raise ValueError(f"they are for text embeddings of width {self.text_width}, not {shape[1]}")
        except ValueError as problem:
            raise self._unfit(problem) from None

    def _unfit(self, problem: ValueError) -> ValueError:
        return ValueError(f"the atoms of {self.name} do not fit this model: {problem}")


def read_stored_layers(path: Path) -> tuple[dict[str, StoredLayer], AtomsInfo]:
    """The layers of an atoms file by name, and its description.

    Raises ValueError where the file is damaged, or holds something else than atoms.
    """
    try:
        tensors, info, _ = load_atoms(path)
    except AtomtuneError as problem:
        raise ValueError(f"{problem}. {problem.hint}") from None
    hint = "atomtune export makes a file of another kind of it"
    if info.method != "atoms":
        raise ValueError(f"{path.name} was tuned by {info.method}, and only atoms are read here: {hint}")
    by_layer: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        layer, _, name = key.rpartition(".")
        if name not in NAMES:
            raise ValueError(f"{path.name} also changes {key}, which cannot be read here: {hint}")
        by_layer.setdefault(layer, {})[name] = tensor
    sparsity, width = float(info.spec["sparsity"]), _text_width(info.architecture)
    return {layer: StoredLayer(layer, own, sparsity, width) for layer, own in by_layer.items()}, info


def is_atoms_file(path: Any) -> bool:
    """Whether a path is that of an atoms file; its header alone is read. False for what cannot be read."""
    if not str(path).endswith((".safetensors", ".sft")):
        return False
    try:
        with safe_open(path, framework="pt") as handle:
            return (handle.metadata() or {}).get("format") == "atomtune.atoms"
    except (OSError, SafetensorError):
        return False


def name_for_comfyui(x: str) -> str:
    """What an atoms file calls a layer that ComfyUI, and Forge after it, calls `x` in LoRA files named as diffusers'.

    Its projections of attention have the names that they had as parts of diffusers' processors.
    """
    name = x.replace(".processor.to_", ".to_")
    if name.endswith(".to_out"):
        return f"{name}.0"
    if name == "lora_te2_text_projection":
        return "text_encoder_2.text_projection"
    return name.replace(".text_model.", ".", 1)


def _text_width(architecture: str) -> int:
    for name, width in _TEXT_WIDTHS.items():
        if architecture.startswith(name):
            return width
    last = architecture.rpartition("-")[2]  # as in UNet2DConditionModel-64-48
    return int(last) if last.isdecimal() and len(last) < 6 else 0
