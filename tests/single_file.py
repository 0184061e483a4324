"""A pipeline in the layout of the original Stable Diffusion code, as checkpoints are passed round."""

import re
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
OUTER = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def write_single_file(pipeline: Any, path: Path, **metadata: str) -> Path:
    """Write UNet, VAE and text encoder of a pipeline like SD v1; returns `path`."""
    tensors = {UNET + unet_name(pipeline.unet, key): value for key, value in pipeline.unet.state_dict().items()}
    for key, value in pipeline.vae.state_dict().items():
        is_projection = "attentions" in key and key.endswith("weight") and value.ndim == 2
        tensors[VAE + vae_name(pipeline.vae, key)] = value[:, :, None, None] if is_projection else value
    for key, value in pipeline.text_encoder.state_dict().items():
        tensors[TEXT + "text_model." + key.removeprefix("text_model.")] = value
    contiguous: dict[str, Tensor] = {key: value.contiguous() for key, value in tensors.items()}
    save_file(contiguous, path, metadata or None)
    return path


def unet_name(unet: Any, key: str) -> str:
    """The original name of a weight of the UNet."""
    outer, _, kind = key.rpartition(".")
    if outer in OUTER:
        return f"{OUTER[outer]}.{kind}"
    depth = unet.config.layers_per_block + 1  # blocks in the original's count at each level
    kinds = "resnets|attentions|downsamplers|upsamplers"
    match = re.match(rf"(down|up|mid)_blocks?\.(?:(\d+)\.)?({kinds})\.(\d+)\.(.*)", key)
    assert match is not None, key
    way, level, what, number, rest = match[1], int(match[2] or 0), match[3], int(match[4]), match[5]
    if what == "resnets":
        part, _, kind = rest.rpartition(".")
        rest = f"{RESNET[part]}.{kind}"
    if way == "mid":
        return f"middle_block.{2 * number if what == 'resnets' else 1}.{rest}"
    if way == "down":
        if what == "downsamplers":
            return f"input_blocks.{depth * (level + 1)}.0.op.{rest.removeprefix('conv.')}"
        return f"input_blocks.{depth * level + number + 1}.{0 if what == 'resnets' else 1}.{rest}"
    if what == "upsamplers":
        has_attention = "CrossAttn" in unet.config.up_block_types[level]
        return f"output_blocks.{depth * (level + 1) - 1}.{2 if has_attention else 1}.{rest}"
    return f"output_blocks.{depth * level + number}.{0 if what == 'resnets' else 1}.{rest}"


def vae_name(vae: Any, key: str) -> str:
    """The original name of a weight of the VAE."""
    levels = len(vae.config.block_out_channels)
    key = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", key)
    key = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", key)
    key = re.sub(r"up_blocks\.(\d+)\.resnets\.(\d+)", lambda m: f"up.{levels - 1 - int(m[1])}.block.{m[2]}", key)
    key = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", key)
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    if "mid_block.attentions.0." in key:
        stem, _, rest = key.partition("mid_block.attentions.0.")
        part, _, kind = rest.rpartition(".")
        key = f"{stem}mid.attn_1.{ATTENTION[part]}.{kind}"
    return key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
