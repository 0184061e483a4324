"""Names for models of any kind: of their architecture, of where they came from, of what is in them."""

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import nn

from ..adapt import adaptable_layers
from ..methods.select import weight_of
from .architecture import architecture_of

_PREFIX = "text_model."
"""Begins the names in CLIP's text encoders, with some versions of transformers."""


def architecture_name(model: nn.Module, without: Collection[str] = ()) -> str:
    """The architecture of a model: as modelspec names it for UNets of diffusers, else its class and its shapes.

    Args:
        without: names of parameters whose layers do not count, as those of a classifier's head.
    """
    if is_unet(model):
        return architecture_of(model)
    digest = hashlib.sha256()
    for name, layer in adaptable_layers(model).items():
        if f"{name}.weight" not in without:
            digest.update(f"{file_name(model, name)}{tuple(weight_of(layer).shape)}".encode())
    return f"{type(model).__name__}-{digest.hexdigest()[:8]}"


def is_unet(model: nn.Module) -> bool:
    """Whether a model is a UNet whose prompts come through cross attention, as diffusers has them."""
    config: Any = getattr(model, "config", None)
    return hasattr(config, "block_out_channels") and hasattr(config, "cross_attention_dim")


def file_name(model: nn.Module, name: str) -> str:
    """The name in a file for something of a model, the same for all versions of transformers."""
    return name.removeprefix(_PREFIX) if _is_text_encoder(model) else name


def own_name(model: nn.Module, name: str) -> str:
    """The way back from `file_name`."""
    if not _is_text_encoder(model) or not hasattr(model, _PREFIX[:-1]):
        return name
    head = name.partition(".")[0]
    return name if hasattr(model, head) else _PREFIX + name


def base_name(model: nn.Module) -> str:
    """Where a model came from, as its library says: a hub id. The name of its class where that is not known.

    Never a path, which could tell a user's name.
    """
    config: Any = getattr(model, "config", None)
    said = getattr(model, "name_or_path", None) or getattr(config, "_name_or_path", None) or ""
    for part in Path(str(said)).parts:
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/")
    is_hub_id = str(said).count("/") <= 1 and not str(said).startswith((".", "/", "~")) and not Path(str(said)).exists()
    return str(said) if said and is_hub_id else type(model).__name__


def _is_text_encoder(model: nn.Module) -> bool:
    return type(model).__name__.startswith("CLIPText")
