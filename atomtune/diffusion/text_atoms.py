"""Atoms of the text encoders: which of their layers are tuned, and what these are called in an atoms file."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..adapt import adaptable_layers
from ..core.deltas import WeightDelta
from ..methods.atoms import AtomsSpec
from ..methods.base import Method

PARTS = ("text_encoder", "text_encoder_2")


def encoder_spec(spec: AtomsSpec, encoders: Mapping[str, nn.Module], part: str) -> AtomsSpec:
    """What of a text encoder is tuned along with a UNet under `spec`.

    Every linear layer of its blocks (of their attention alone where `spec.layers` is "attention"), and the projection
    of the last encoder. Of two encoders the first is read before its last block, which therefore stays out.
    """
    encoder: Any = encoders[part]
    blocks = int(encoder.config.num_hidden_layers)
    is_last = part == list(encoders)[-1]
    kind = "self_attn.*" if spec.layers == "attention" else "*"
    patterns = [f"*layers.{i}.{kind}" for i in range(blocks if is_last else blocks - 1)]
    if is_last and any(name.endswith("text_projection") for name in adaptable_layers(encoder)):
        patterns.append("*text_projection")
    return replace(spec, layers=",".join(patterns))


def name_in_file(part: str, layer: str) -> str:
    """A layer's name in an atoms file, the same for all versions of transformers."""
    return f"{part}.{layer.removeprefix('text_model.')}"


def split_parts(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """An atoms file's tensors by the part of the pipeline they are for, "unet" among them; names stay as they are."""
    parts: dict[str, dict[str, Tensor]] = {"unet": {}}
    for key, tensor in tensors.items():
        part = key.partition(".")[0]
        parts.setdefault(part if part in PARTS else "unet", {})[key] = tensor
    return parts


def restore_encoder(
    method: Method, spec: Any, encoders: Mapping[str, nn.Module], part: str, tensors: Mapping[str, Tensor]
) -> dict[str, WeightDelta]:
    """The deltas of one text encoder from an atoms file's tensors for it, by layer. Raises as `Method.restore`."""
    encoder = encoders[part]
    own = {name_in_file(part, name): name for name in adaptable_layers(encoder)}
    renamed = {}
    for key, tensor in tensors.items():
        layer, _, kind = key.rpartition(".")
        renamed[f"{own.get(layer, layer)}.{kind}"] = tensor
    return method.restore(encoder, encoder_spec(spec, encoders, part), renamed)
