"""The figures of the model card: does the grader name what pictures show, fresh renders and samples alike?"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from atomtune.evaluate.encoders.base import ImageEncoder
from atomtune.evaluate.encoders.grader import Grader, load_grader, load_identity
from atomtune.pocket.world import SCENES, THINGS, caption

from .autoencoder import as_tensor
from .dataset import subject
from .export import load_pipeline
from .recipe import Recipe
from .training import reduced_precision, save_json, training_device

log = logging.getLogger(__name__)

_BATCH = 40

Cell = tuple[str, str]


def cells() -> list[Cell]:
    """Every class with every scene that has words."""
    return [(thing, scene) for thing in THINGS for scene in SCENES if scene]


def named(grader: Grader, images: Sequence[Image.Image]) -> list[Cell]:
    """What the grader sees in each picture, out of every class in every scene."""
    known = cells()
    return [known[i] for i in grader.classify(images, [caption(*cell) for cell in known]).tolist()]


def accuracy(shown: Sequence[Cell], seen: Sequence[Cell]) -> dict[str, object]:
    """How often class and scene are right, over all and for the worst of each."""
    pairs = list(zip(shown, seen, strict=True))
    things = {thing: [a[0] == b[0] for a, b in pairs if a[0] == thing] for thing in THINGS}
    scenes = {scene: [a[1] == b[1] for a, b in pairs if a[1] == scene] for scene in SCENES if scene}
    by_thing = {name: sum(right) / len(right) for name, right in things.items() if right}
    by_scene = {name: sum(right) / len(right) for name, right in scenes.items() if right}
    return {
        "pictures": len(pairs),
        "class": sum(a[0] == b[0] for a, b in pairs) / len(pairs),
        "scene": sum(a[1] == b[1] for a, b in pairs) / len(pairs),
        "by_class": by_thing,
        "by_scene": by_scene,
    }


def sample(
    pipeline: StableDiffusionPipeline, prompts: Sequence[str], seeds: Sequence[int], steps: int, guidance: float
) -> list[Image.Image]:
    """One picture for every prompt, each from its own seed; the networks compute in bfloat16 where that is faster."""
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


def evaluate(pipeline_folder: Path, grader_folder: Path, work: Path, recipe: Recipe) -> dict[str, object]:
    """All figures; they are kept in work/figures.json."""
    device = training_device()
    grader = load_grader(grader_folder, device)
    pipeline = load_pipeline(pipeline_folder, device)
    count = recipe.samples_per_cell * len(THINGS) * len(SCENES)
    fresh = [shown for shown in (subject(n, held_out=True) for n in range(count)) if shown.scene]
    pictures = [Image.fromarray(shown.draw(64)) for shown in fresh]
    figures: dict[str, object] = {
        "fresh": accuracy([(shown.thing, shown.scene) for shown in fresh], named(grader, pictures)),
        "autoencoder_psnr": reconstruction_psnr(pipeline, pictures[:500]),
        "fidelity": same_thing(load_identity(grader_folder, device)),
    }
    log.info("evaluate: fresh %s", figures["fresh"])
    started = time.monotonic()
    shown: list[Cell] = []
    seen: list[Cell] = []
    for thing in THINGS:
        block = [cell for cell in cells() if cell[0] == thing for _ in range(recipe.samples_per_cell)]
        prompts = [caption(*cell) for cell in block]
        seeds = range(len(shown), len(shown) + len(block))
        shown += block
        seen += named(grader, sample(pipeline, prompts, seeds, recipe.sampling_steps, recipe.guidance_scale))
        log.info("evaluate: %d samples, %.0f s", len(shown), time.monotonic() - started)
    figures["samples"] = {
        **accuracy(shown, seen),
        "steps": recipe.sampling_steps,
        "guidance_scale": recipe.guidance_scale,
        "scheduler": type(pipeline.scheduler).__name__,
    }
    log.info("evaluate: samples %s", figures["samples"])
    save_json(work / "figures.json", figures)
    return figures


@torch.inference_mode()
def reconstruction_psnr(pipeline: StableDiffusionPipeline, pictures: Sequence[Image.Image]) -> float:
    """Mean PSNR, in dB, of pictures that went through the autoencoder."""
    values: list[Tensor] = []
    for first in range(0, len(pictures), 50):
        batch = as_tensor(np.stack([np.asarray(picture) for picture in pictures[first : first + 50]]))
        batch = batch.to(pipeline.device)
        output = pipeline.vae.decode(pipeline.vae.encode(batch).latent_dist.mode()).sample.clamp(-1, 1)
        values.append(-10 * ((output - batch) / 2).square().mean(dim=(1, 2, 3)).log10())
    return round(torch.cat(values).mean().item(), 2)


def same_thing(encoder: ImageEncoder) -> dict[str, float]:
    """Mean cosine of two pictures in different scenes: of one and the same thing, and of two things of one class."""
    scenes = [scene for scene in SCENES if scene]
    same, other = [], []
    for number in range(10 * len(THINGS)):
        a, b = subject(number, held_out=True), subject(number + len(THINGS) * len(SCENES), held_out=True)
        first, second = scenes[number % len(scenes)], scenes[(number + 7) % len(scenes)]
        images = [
            Image.fromarray(type(a)(a.thing, scene, style, view).draw(64))
            for scene, style, view in ((first, a.style, a.view), (second, a.style, b.view), (second, b.style, b.view))
        ]
        vectors = encoder.encode_images(images)
        same.append(float(vectors[0] @ vectors[1]))
        other.append(float(vectors[0] @ vectors[2]))
    return {"same_thing": round(sum(same) / len(same), 4), "other_thing": round(sum(other) / len(other), 4)}
