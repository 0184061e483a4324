"""Images from a trained pipeline: samples of every class in every scene, kept on disk, and a sheet to look at."""

import hashlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from atomtune.pocket.world import SCENES, THINGS, caption

from .recipe import Recipe
from .training import reduced_precision

log = logging.getLogger(__name__)

_BATCH = 40

Cell = tuple[str, str]

SHEET_SCENES = (
    "in the jungle",
    "in the snow",
    "on the beach",
    "with a mountain in the background",
    "on a cobblestone street",
    "with the Eiffel Tower in the background",
    "on top of pink fabric",
    "floating on top of water",
)


def cells() -> list[Cell]:
    """Every class with every scene that has words."""
    return [(thing, scene) for thing in THINGS for scene in SCENES if scene]


def sample(
    pipeline: StableDiffusionPipeline, prompts: Sequence[str], seeds: Sequence[int], steps: int, guidance: float
) -> list[Image.Image]:
    """One image for every prompt, each from its own seed; the networks compute in bfloat16 where that is faster."""
    images: list[Image.Image] = []
    # Guidance and scheduler add up small differences: they get float32.
    hook = pipeline.unet.register_forward_hook(lambda module, inputs, output: (output[0].float(),))
    with reduced_precision(pipeline.device):
        for first in range(0, len(prompts), _BATCH):
            generators = [torch.Generator().manual_seed(seed) for seed in seeds[first : first + _BATCH]]
            images += pipeline(
                list(prompts[first : first + _BATCH]),
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=generators,
            ).images
    hook.remove()
    return images


def sample_cells(
    pipeline: StableDiffusionPipeline, weights: Path, work: Path, recipe: Recipe
) -> list[tuple[Cell, Image.Image]]:
    """Samples of all cells, `recipe.samples_per_cell` of each; classes in the work folder are not done again."""
    folder = work / f"samples-{digest(weights)}-{recipe.samples_per_cell}"
    folder.mkdir(parents=True, exist_ok=True)
    shown: list[tuple[Cell, Image.Image]] = []
    started = time.monotonic()
    for thing in THINGS:
        block = [cell for cell in cells() if cell[0] == thing for _ in range(recipe.samples_per_cell)]
        path = folder / f"{thing}.npy"
        if not path.exists():
            seeds = range(len(shown), len(shown) + len(block))
            prompts = [caption(*cell) for cell in block]
            images = sample(pipeline, prompts, seeds, recipe.sampling_steps, recipe.guidance_scale)
            np.save(path, np.stack([np.asarray(image) for image in images]))
        shown += zip(block, map(Image.fromarray, np.load(path)), strict=True)
        log.info("samples: %d, %.0f s", len(shown), time.monotonic() - started)
    return shown


def digest(weights: Path) -> str:
    """A short name of a pipeline's weights."""
    total = hashlib.sha256()
    for path in sorted(weights.rglob("*.safetensors")):
        total.update(path.read_bytes())
    return total.hexdigest()[:12]


def sheet(pipeline: StableDiffusionPipeline, recipe: Recipe, side: int = 256) -> Image.Image:
    """One sample of every class in eight scenes, a row for each class; images are enlarged to `side` pixels."""
    prompts = [caption(thing, scene) for thing in THINGS for scene in SHEET_SCENES]
    images = sample(pipeline, prompts, range(len(prompts)), recipe.sampling_steps, recipe.guidance_scale)
    whole = Image.new("RGB", (side * len(SHEET_SCENES), side * len(THINGS)))
    for number, image in enumerate(images):
        row, column = divmod(number, len(SHEET_SCENES))
        whole.paste(image.resize((side, side), Image.Resampling.LANCZOS), (column * side, row * side))
    return whole
