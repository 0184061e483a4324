"""What the layers of a pipeline are called in LoRA files: in those of kohya's scripts, and in diffusers' own."""

from typing import Any

from torch import nn

_OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
_IN_RESNET = {
    "norm1": "in_layers.0",
    "norm2": "out_layers.0",
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}


def diffusers_name(part: str, layer: str) -> str:
    """The name before ".lora_A.weight" in a file of diffusers.

    Args:
        part: component of the pipeline. layer: dotted name in it.
    """
    return f"{part}.{layer if part == 'unet' else _in_encoder(layer)}"


def kohya_name(part: str, layer: str, config: Any, is_xl: bool) -> str:
    """The name before ".lora_down.weight" in a file of kohya's scripts, as ComfyUI and A1111 read them.

    The scripts call the layers of SD v1 and v2 what diffusers calls them, those of SDXL's UNet what Stability's own
    code does.

    Args:
        part: component of the pipeline. layer: dotted name in it.
        config: of the UNet.
    """
    if part == "unet":
        return "lora_unet_" + (original_name(layer, config) if is_xl else layer).replace(".", "_")
    prefix = {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}[part] if is_xl else "lora_te_"
    return prefix + _in_encoder(layer).replace(".", "_")


def has_taps(part: str, layer: str, pipeline: Any, as_kohya_trains: bool) -> bool:
    """Whether the factors of a layer have the two sides of a kernel.

    Those of convolutions have. In kohya's scripts the two projections around SD v2's attention blocks are 1×1
    convolutions too, where diffusers and the original code have linear layers; all others flatten the factors.
    """
    module = getattr(pipeline, part).get_submodule(layer)
    if isinstance(module, nn.Conv2d):
        return True
    is_projection = part == "unet" and ".attentions." in layer and layer.endswith((".proj_in", ".proj_out"))
    return as_kohya_trains and is_projection


def original_name(layer: str, config: Any) -> str:
    """A layer of a UNet of diffusers, as the original code of Stable Diffusion numbers its blocks.

    There every residual block, and every change of the resolution, is a block: on the way down after the first
    convolution, on the way up with the upsampler at the end of the last block of its level.

    Args:
        config: the UNet's, of which `layers_per_block` and `up_block_types` are read.
    """
    if layer in _OUTSIDE:
        return _OUTSIDE[layer]
    level, *path = layer.split(".")
    if level == "mid_block":  # residual block, attention, residual block
        kind, index, *inner = path
        return ".".join([f"middle_block.{1 if kind == 'attentions' else 2 * int(index)}", *_inner(kind, inner)])
    number, kind, index, *inner = path
    blocks = int(config.layers_per_block) + 1
    first = int(number) * blocks
    if kind == "downsamplers":
        return f"input_blocks.{first + blocks}.0.op"
    if kind == "upsamplers":
        has_attention = "CrossAttn" in config.up_block_types[int(number)]
        return f"output_blocks.{first + blocks - 1}.{2 if has_attention else 1}.conv"
    block = (
        f"input_blocks.{first + 1 + int(index)}" if level == "down_blocks" else f"output_blocks.{first + int(index)}"
    )
    return ".".join([block, "1" if kind == "attentions" else "0", *_inner(kind, inner)])


def _inner(kind: str, inner: list[str]) -> list[str]:
    return [_IN_RESNET[inner[0]]] if kind == "resnets" else inner


def _in_encoder(layer: str) -> str:
    """A text encoder's layer under the same name for all versions of transformers."""
    if layer == "text_projection":
        return layer
    return f"text_model.{layer.removeprefix('text_model.')}"
