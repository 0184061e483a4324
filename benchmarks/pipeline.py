"""A diffusers folder of full size with random weights, and images to teach: all that the benchmark needs, offline.

A process of its own (`python -m benchmarks.pipeline MODEL --image-folder DIR`), so that what building takes of memory
is given back before anything is measured.
"""

import argparse
import json
import shutil
from pathlib import Path

import diffusers
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from atomtune.models.single_file import SD_V1
from atomtune.models.tokenizer import write_tokenizer
from atomtune.pocket.world import FIRST_HELD_OUT_SEED, Style, render

THING = "castle"
SCENES = ("on the beach", "in the snow", "on a cobblestone street", "on top of a dirt road")
SIDE = 512  # pixels of the images


def build(folder: Path, configs: Path = SD_V1.folder, seed: int = 0, unet_type: torch.dtype = torch.float16) -> None:
    """Write a StableDiffusionPipeline with the parts that `configs` describes, in float16.

    Args:
        configs: a diffusers folder; its weights are not read. The default has the real sizes of SD v1.4.
        seed: of the weights, which are as diffusers and transformers begin a training with them.
        unet_type: of the UNet's weights on disk; float32 is that of SD v1.4 on the hub.
    """
    torch.manual_seed(seed)
    index = json.loads((configs / "model_index.json").read_text(encoding="utf-8"))
    unet = diffusers.UNet2DConditionModel.from_config(_config(configs, "unet")).to(unet_type)
    vae = diffusers.AutoencoderKL.from_config(_config(configs, "vae")).half()
    text_encoder = CLIPTextModel(CLIPTextConfig.from_pretrained(str(configs), subfolder="text_encoder")).half()
    scheduler = getattr(diffusers, index["scheduler"][1]).from_pretrained(configs, subfolder="scheduler")
    write_tokenizer(folder / "tokenizer")
    pipeline = diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)


def draw(folder: Path, side: int = SIDE) -> None:
    """Draw a few images of one thing."""
    folder.mkdir(parents=True)
    style = Style(FIRST_HELD_OUT_SEED)
    for number, scene in enumerate(SCENES):
        render(THING, style, scene, FIRST_HELD_OUT_SEED + number, size=side).save(folder / f"{number:02d}.png")


def _config(configs: Path, part: str) -> dict[str, object]:
    loaded: dict[str, object] = json.loads((configs / part / "config.json").read_text(encoding="utf-8"))
    return loaded


def main(arguments: list[str] | None = None) -> int:
    """Write the model and the images."""
    parser = argparse.ArgumentParser(prog="benchmarks.pipeline", description=__doc__)
    parser.add_argument("model", type=Path, help="folder for the model")
    parser.add_argument("--configs", type=Path, default=SD_V1.folder, help="a diffusers folder with the sizes")
    parser.add_argument("--float32", action="store_true", help="the UNet's weights in float32")
    parser.add_argument("--image-folder", type=Path, help="folder for the images (default: none)")
    parser.add_argument("--images", type=Path, help="images to use in place of drawn ones")
    given = parser.parse_args(arguments)
    build(given.model, given.configs, unet_type=torch.float32 if given.float32 else torch.float16)
    if given.image_folder is None:
        return 0
    if given.images is None:
        draw(given.image_folder)
    else:
        shutil.copytree(given.images, given.image_folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
