"""Which layers of a model a method adapts, and the names of their kinds and blocks."""

import fnmatch
import math
from collections.abc import Iterable

from torch import Tensor, nn

from ..adapt import adaptable_layers
from ..errors import UsageError, excerpt

BLOCKS = ("down_blocks.", "mid_block.", "up_blocks.")
KINDS = ("conv", "linear")
"""Kinds of layers, see `kind_of`, that a "!" can leave out."""
ATTENTION_PROJECTIONS = ("*.to_q", "*.to_k", "*.to_v", "*.to_out.0")
OTHER_ATTENTION = (
    ("*.attn.qkv", "*.attn.proj"),  # timm's, query, key and value in one layer
    ("*.attn.q", "*.attn.kv", "*.attn.proj"),
    ("*.attn.q_proj", "*.attn.k_proj", "*.attn.v_proj", "*.attn.proj"),
    ("*.attention.self.query", "*.attention.self.key", "*.attention.self.value", "*.attention.output.dense"),  # BERT's
    ("*.self_attn.q_proj", "*.self_attn.k_proj", "*.self_attn.v_proj", "*.self_attn.out_proj"),  # CLIP's
    ("*.attention.query", "*.attention.key", "*.attention.value", "*.attention.output.dense"),  # ViT's in transformers
)
"""What other libraries call the projections of their attention; the first row of which a model has all counts."""


def without_excluded(layers: str) -> tuple[str, list[str]]:
    """A choice of layers as what it takes and the patterns that it leaves out, those after a "!"."""
    words = [word.strip() for word in layers.split(",")]
    taken = [word for word in words if not word.startswith("!")]
    return ",".join(taken) if taken else "all", [word[1:] for word in words if word.startswith("!")]


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of these shell patterns matches a name."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def select_layers(model: nn.Module, layers: str) -> dict[str, nn.Module]:
    """The layers a choice names, in the model's order.

    `layers` is "all", "blocks" (those of a UNet's down, mid and up blocks; all in a model without such blocks), "conv"
    (convolutions of more than one tap), "attention" (to_q, to_k, to_v, to_out, as diffusers' LoRA trains; in models of
    other libraries what `OTHER_ATTENTION` has), or shell patterns on dotted names, separated by commas
    ("up_blocks.*,*.ff.*"). Patterns after a "!" are left out ("all,!time_embedding.*"), and so are `KINDS`
    ("blocks,!linear").

    Raises UsageError where a pattern matches no layer, or the model has none of the kind.
    """
    layers, excluded = without_excluded(layers)
    candidates = {
        name: layer
        for name, layer in adaptable_layers(model).items()
        if not matches(name, excluded) and not (kind_of(layer) in KINDS and kind_of(layer) in excluded)
    }
    if layers in ("all", "conv"):
        chosen = {name: layer for name, layer in candidates.items() if layers == "all" or kind_of(layer) == "conv"}
        if not chosen:
            raise UsageError(f"the model has no layers for {excerpt(repr(layers))}", "--layers chooses others")
        return chosen
    if layers == "blocks" and candidates:
        return {name: layer for name, layer in candidates.items() if name.startswith(BLOCKS)} or candidates
    patterns = _attention(candidates) if layers == "attention" else tuple(p.strip() for p in layers.split(","))
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in candidates):
            raise UsageError(
                f"no layer of the model matches {excerpt(repr(pattern))}",
                "layers are all, blocks, conv, attention, or patterns such as 'up_blocks.*' or '*.attn2.to_k'",
            )
    return {name: layer for name, layer in candidates.items() if matches(name, patterns)}


def _attention(names: Iterable[str]) -> tuple[str, ...]:
    """The patterns of a model's attention projections."""
    names = list(names)
    for patterns in (ATTENTION_PROJECTIONS, *OTHER_ATTENTION):
        if all(any(fnmatch.fnmatchcase(name, pattern) for name in names) for pattern in patterns):
            return patterns
    return ATTENTION_PROJECTIONS


def kind_of(layer: nn.Module) -> str:
    """ "conv", "conv 1x1", "linear" or "other"."""
    if isinstance(layer, nn.Conv2d):
        return "conv" if math.prod(layer.kernel_size) > 1 else "conv 1x1"
    return "linear" if isinstance(layer, nn.Linear) else "other"


def weight_of(layer: nn.Module) -> Tensor:
    """A layer's weight."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight


def group_of(name: str) -> str:
    """The block a layer belongs to: "down_blocks.1.resnets.0.conv1" → "down_blocks.1"."""
    parts = name.split(".")
    return ".".join(parts[:2]) if len(parts) > 1 and parts[1].isdigit() else parts[0]
