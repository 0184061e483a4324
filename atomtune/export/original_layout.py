"""A pipeline's weights under the names of the original code of Stable Diffusion: UNet, VAE and text encoders."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..models.conditioning import text_encoders
from .lora_keys import original_name

_UNET, _VAE = "model.diffusion_model.", "first_stage_model."
_CLIP = "cond_stage_model.transformer."
_OPEN_CLIP = "cond_stage_model.model."
_XL = ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model.")
_LOGIT_SCALE = math.log(100)  # what CLIP's is clamped to in its training; nothing that generates reads it

_IN_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_IN_OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_AROUND_OPEN_CLIP = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}


def original_layout(pipeline: Any) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the original checkpoint's layout that holds a weight, by name, one at a time.

    SD v1 has CLIP's text encoder as transformers names it, SD v2 OpenCLIP's, SDXL one of each. Of SD v2's encoder
    diffusers has all blocks but the last, which generating does not use: it is written as a copy of the one before.
    """
    for key, tensor in pipeline.unet.state_dict().items():
        layer, _, kind = key.rpartition(".")
        yield f"{_UNET}{original_name(layer, pipeline.unet.config)}.{kind}", tensor
    levels = len(pipeline.vae.config.block_out_channels)
    for key, tensor in pipeline.vae.state_dict().items():
        is_tap = ".attentions." in key and key.endswith(".weight") and tensor.dim() == 2
        yield _VAE + vae_name(key, levels), tensor[:, :, None, None] if is_tap else tensor
    encoders = text_encoders(pipeline)
    if len(encoders) > 1:
        first, second = encoders.values()
        yield from _clip(first, _XL[0])
        yield from _open_clip(second, _XL[1], extra_blocks=0)
    elif is_v2(pipeline):
        yield from _open_clip(pipeline.text_encoder, _OPEN_CLIP, extra_blocks=1)
    else:
        yield from _clip(pipeline.text_encoder, _CLIP)


def is_v2(pipeline: Any) -> bool:
    """Whether a pipeline with one text encoder is built as SD v2 is, with OpenCLIP's."""
    return len(text_encoders(pipeline)) == 1 and bool(pipeline.unet.config.use_linear_projection)


def vae_name(key: str, levels: int) -> str:
    """A weight of a VAE of diffusers, as the original code calls it, which counts its way up from the end.

    Args:
        levels: of resolution.
    """
    key = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", key)
    key = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", key)
    key = re.sub(r"up_blocks\.(\d+)\.resnets\.(\d+)", lambda m: f"up.{levels - 1 - int(m[1])}.block.{m[2]}", key)
    key = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", key)
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    if match := re.fullmatch(r"(.*)mid_block\.attentions\.0\.(.+)\.(weight|bias)", key):
        key = f"{match[1]}mid.attn_1.{_IN_VAE_ATTENTION[match[2]]}.{match[3]}"
    return key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")


def _clip(encoder: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    state = _named(encoder)
    for key, tensor in state.items():
        yield f"{prefix}text_model.{key}", tensor
    positions = state["embeddings.position_embedding.weight"].shape[0]
    yield f"{prefix}text_model.embeddings.position_ids", torch.arange(positions).unsqueeze(0)


def _open_clip(encoder: Any, prefix: str, extra_blocks: int) -> Iterator[tuple[str, Tensor]]:
    """OpenCLIP has one matrix for the three projections of attention, and its own projection transposed."""
    state = _named(encoder)
    blocks = 1 + max(int(key.split(".")[2]) for key in state if key.startswith("encoder.layers."))
    for key, name in _AROUND_OPEN_CLIP.items():
        yield prefix + name, state[key]
    for block in range(blocks + extra_blocks):
        source = f"encoder.layers.{min(block, blocks - 1)}."
        target = f"{prefix}transformer.resblocks.{block}."
        for kind in ("weight", "bias"):
            # the copy shares no memory with the block it is one of: safetensors refuses tensors that do
            three = [state[f"{source}self_attn.{which}_proj.{kind}"] for which in "qkv"]
            yield f"{target}attn.in_proj_{kind}", torch.cat(three)
            for ours, theirs in _IN_OPEN_CLIP.items():
                tensor = state[f"{source}{ours}.{kind}"]
                yield f"{target}{theirs}.{kind}", tensor.clone() if block >= blocks else tensor
    width = state["final_layer_norm.weight"].shape[0]
    like = state["final_layer_norm.weight"]
    projection = state.get("text_projection.weight")
    yield (
        f"{prefix}text_projection",
        torch.eye(width, dtype=like.dtype, device=like.device) if projection is None else projection.T,
    )
    yield f"{prefix}logit_scale", torch.tensor(_LOGIT_SCALE, dtype=like.dtype, device=like.device)


def _named(encoder: Any) -> Mapping[str, Tensor]:
    """An encoder's weights under the same names for all versions of transformers, without its position numbers."""
    state = {key.removeprefix("text_model."): tensor for key, tensor in encoder.state_dict().items()}
    return {key: tensor for key, tensor in state.items() if not key.endswith("position_ids")}
