"""The components of a pipeline that an atoms file can change: UNet, text encoders, the token's embedding."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..adapt import adaptable_layers
from ..errors import UsageError, excerpt
from ..methods.base import Method
from ..methods.specs import Spec
from ..methods.textual_inversion import TOKEN_CHANGE, token_changes
from ..runtime.units import counted

PARTS = ("text_encoder", "text_encoder_2")


def encoder_spec(spec: Spec, encoders: Mapping[str, nn.Module], part: str) -> Any:
    """The spec of a text encoder that is tuned along with a UNet under `spec`.

    Every layer of its blocks (of their attention alone where `spec.layers` is "attention"), and the projection of the
    last encoder. Of SDXL's first encoder the last block is left out: its output is not used.
    """
    encoder: Any = encoders[part]
    blocks = int(encoder.config.num_hidden_layers)
    is_last = part == list(encoders)[-1]
    kind = "self_attn.*" if spec.layers == "attention" else "*"
    patterns = [f"*layers.{i}.{kind}" for i in range(blocks if is_last else blocks - 1)]
    if is_last and any(name.endswith("text_projection") for name in adaptable_layers(encoder)):
        patterns.append("*text_projection")
    return replace(spec, layers=",".join(patterns))


def name_in_file(part: str, name: str) -> str:
    """The name of a part's tensor in a file, the same for all versions of transformers."""
    return f"{part}.{name.removeprefix('text_model.')}"


def split_parts(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """An atoms file's tensors by the component they change; "unet" is always a key.

    Names stay as they are, but for the UNet's: those of atoms stand alone, those of other methods begin with "unet.".
    """
    parts: dict[str, dict[str, Tensor]] = {"unet": {}}
    for key, tensor in tensors.items():
        part = key.partition(".")[0]
        if part in PARTS:
            parts.setdefault(part, {})[key] = tensor
        else:
            parts["unet"][key.removeprefix("unet.")] = tensor
    return parts


def encoder_changes(
    method: Method,
    spec: Any,
    encoder: nn.Module,
    part: str,
    tensors: Mapping[str, Tensor],
    tokens: Sequence[int],
) -> dict[str, Tensor]:
    """What a file's tensors for a text encoder add to its parameters. Raises as `Method.changes`.

    Args:
        spec: the encoder's own, see `encoder_spec`.
        part: what the encoder is called in the file.
        tokens: numbers of the concept's token, where the file has an embedding of it.
    """
    found: dict[str, Tensor] = {}
    own = {name_in_file(part, name): name for name, _ in encoder.named_modules() if name}
    renamed = {_own_name(key, own): tensor for key, tensor in tensors.items()}
    embedding = renamed.pop(name_in_file(part, TOKEN_CHANGE), None)
    if embedding is not None:
        found |= token_changes(encoder, tokens, {TOKEN_CHANGE: embedding})
    if renamed:
        found |= method.changes(encoder, spec, renamed)
    return found


def token_ids(tokenizer: Any, token: str, vectors: int = 1) -> list[int]:
    """The numbers of a token that has so many vectors.

    Raises UsageError where the tokenizer does not read as many different ones, or does not know a word.
    """
    ids = [int(number) for number in tokenizer(token, add_special_tokens=False).input_ids]
    if len(ids) != vectors or len(set(ids)) < len(ids) or not set(ids).isdisjoint(tokenizer.all_special_ids):
        needed = "one is needed" if vectors == 1 else f"{vectors} different ones are needed"
        raise UsageError(
            f"{excerpt(repr(token))} is {counted(len(ids), 'token')} to the model, {needed} to train its embedding",
            "most short words are one token; --token-vectors says how many vectors are trained",
        )
    return ids


def _own_name(key: str, own: Mapping[str, str]) -> str:
    """The encoder's own name for a tensor of a file: that of the longest module it begins with."""
    head, tail = key, ""
    while head:
        if head in own:
            return own[head] + tail
        head, dot, last = head.rpartition(".")
        tail = dot + last + tail
    return key
