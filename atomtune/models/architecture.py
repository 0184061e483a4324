"""What a model is, without its weights: its architecture's name, image size, and modules that hold shapes only."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import AtomtuneError
from .base_model import ModelSource
from .hub_errors import as_load_error
from .hub_files import pipeline_files
from .load_component import text_config
from .pipeline_index import INDEX, PipelineIndex, read_config, read_index
from .single_file import HUB, Family, inspect_file

_ARCHITECTURES = {
    (320, 768): "stable-diffusion-v1",
    (320, 1024): "stable-diffusion-v2",
    (320, 2048): "stable-diffusion-xl-v1-base",
}


def architecture_of(unet: nn.Module) -> str:
    """The architecture as modelspec names it; for others the UNet's class and two of its widths."""
    config: Any = unet.config
    key = (config.block_out_channels[0], config.cross_attention_dim)
    return _ARCHITECTURES.get(key, f"{type(unet).__name__}-{key[0]}-{key[1]}")


def unet_on_meta(source: ModelSource) -> nn.Module:
    """The UNet without weights: shapes only. Those of SD v1, v2 and SDXL come with the package."""
    from diffusers import UNet2DConditionModel

    _, (config,) = _configs(source, "unet")
    with as_load_error(source.name), torch.device("meta"):
        unet: nn.Module = UNet2DConditionModel.from_config(config)
    return unet


def text_encoders_on_meta(source: ModelSource) -> dict[str, nn.Module]:
    """The text encoders without weights, by component."""
    import transformers

    index, _ = _configs(source)
    parts = [part for part in ("text_encoder", "text_encoder_2") if part in index.components]
    _, configs = _configs(source, *parts)
    with as_load_error(source.name), torch.device("meta"):
        return {
            part: getattr(transformers, index.components[part])(transformers.CLIPTextConfig(**text_config(config)))
            for part, config in zip(parts, configs, strict=True)
        }


def native_resolution(source: ModelSource) -> int:
    """The side in pixels of the images a model was trained on, from its configuration alone.

    Raises AtomtuneError where the configuration does not say it.
    """
    _, (unet, vae) = _configs(source, "unet", "vae")
    size, blocks = unet.get("sample_size"), vae.get("block_out_channels")
    side = size[0] if isinstance(size, list) and size else size
    if type(side) is not int or not 0 < side < 100_000 or not isinstance(blocks, list) or not 0 < len(blocks) < 10:
        raise AtomtuneError(
            f"unet/config.json of {source.name} does not say its image size (sample_size)",
            "set sample_size there to the side of its latents, as in 64 for images of 512 pixels",
        )
    return int(side * 2 ** (len(blocks) - 1))


def size_multiple(source: ModelSource) -> int:
    """What sides in pixels are multiples of so that VAE and UNet halve them without a rest; 8 at least."""
    _, configs = _configs(source, "unet", "vae")
    blocks = [config.get("block_out_channels") for config in configs]
    halved = sum(len(some) - 1 for some in blocks if isinstance(some, list) and 0 < len(some) < 10)
    return max(8, 2**halved)


def _configs(source: ModelSource, *parts: str) -> tuple[PipelineIndex, list[dict[str, Any]]]:
    """The index of a pipeline, and the configurations of these components."""
    with as_load_error(source.name):
        if family := _family(source):
            folder, index = family.folder, read_index(source.name, family.folder / INDEX)
        else:
            files = pipeline_files(source.name, source.location, parts, weights=False)
            folder, index = files.folder, files.index
        return index, [read_config(source.name, folder, part) for part in parts]


def _family(source: ModelSource) -> Family | None:
    return inspect_file(Path(source.location)).family if source.is_file else HUB.get(source.name.lower())
