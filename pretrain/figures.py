"""Measures of a pipeline by the grader, by its encoder of things, and by what words change in a prediction."""

import random
from collections.abc import Sequence

import numpy as np
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from atomtune.evaluation.encoders.base import ImageEncoder
from atomtune.pocket.world import FIRST_HELD_OUT_SEED, SCENES, THINGS, caption

from .autoencoder import as_tensor
from .dataset import Subject, subject
from .denoiser import NOISE_SCHEDULE
from .names import NAMES, named_class, named_style
from .recipe import Recipe
from .sampling import sample
from .tokenizer import RESERVED_WORD, rare_words

_TIMES = (100, 300, 500, 700, 900)
_SCENES = [scene for scene in SCENES if scene]


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Frechet distance of two sets of vectors, (n, d) and (m, d), each taken as a normal distribution.

    Heusel et al. 2017, arXiv 1706.08500, equation 6. Few vectors make it too large: compare sets of one size.
    """
    x, y = a.double(), b.double()
    cov_x, cov_y = (torch.atleast_2d(torch.cov(part.T)) for part in (x, y))
    values, vectors = torch.linalg.eigh(cov_x)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()
    return float((x.mean(0) - y.mean(0)).square().sum() + cov_x.trace() + cov_y.trace() - 2 * cross)


def excess_distance(samples: Tensor, fresh: Tensor, others: Tensor) -> float:
    """The Frechet distance of samples to fresh renders, less that of other fresh renders, as many as the samples."""
    return frechet_distance(samples, fresh) - frechet_distance(others, fresh)


@torch.inference_mode()
def reconstructions(pipeline: StableDiffusionPipeline, images: Sequence[Image.Image]) -> list[Image.Image]:
    """Images that went through the autoencoder."""
    result: list[Image.Image] = []
    for first in range(0, len(images), 50):
        batch = as_tensor(np.stack([np.asarray(image) for image in images[first : first + 50]])).to(pipeline.device)
        output = pipeline.vae.decode(pipeline.vae.encode(batch).latent_dist.mode()).sample
        pixels = ((output.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        result += map(Image.fromarray, pixels)
    return result


def mean_psnr(images: Sequence[Image.Image], others: Sequence[Image.Image]) -> float:
    """Mean PSNR of pairs of images, in dB."""
    errors = [
        np.square(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)).mean()
        for a, b in zip(images, others, strict=True)
    ]
    return float(np.mean([10 * np.log10(255**2 / max(error, 1e-9)) for error in errors]))


def same_thing(encoder: ImageEncoder, pipeline: StableDiffusionPipeline) -> dict[str, float]:
    """Mean cosines of two images in different scenes.

    `same_thing`: of one and the same thing; `other_thing`: of two things of one class; `reconstructed_thing`: of one
    thing, the first image having gone through the autoencoder.
    """
    triples = []
    for number in range(10 * len(THINGS)):
        a, b = subject(number, held_out=True), subject(number + len(THINGS) * len(SCENES), held_out=True)
        first, second = _SCENES[number % len(_SCENES)], _SCENES[(number + 7) % len(_SCENES)]
        triples.append(
            [
                Image.fromarray(Subject(a.thing, scene, style, view).render(64))
                for scene, style, view in (
                    (first, a.style, a.view),
                    (second, a.style, b.view),
                    (second, b.style, b.view),
                )
            ]
        )
    one, same, other = zip(*triples, strict=True)
    vectors = [encoder.encode_images(images) for images in (one, same, other, reconstructions(pipeline, one))]
    return {
        name: round(float((vectors[i] * vectors[j]).sum(1).mean()), 4)
        for name, i, j in (("same_thing", 0, 1), ("other_thing", 0, 2), ("reconstructed_thing", 3, 1))
    }


def named_things(encoder: ImageEncoder, pipeline: StableDiffusionPipeline, recipe: Recipe) -> dict[str, float]:
    """Mean cosine of samples of named things with renders of them, of samples without the name, and of other renders.

    One sample for each of the first `recipe.sampled_names` names in one scene, beside three renders in other scenes.
    """
    prompts, plain, renders = [], [], []
    count = recipe.sampled_names
    for number, name in enumerate(NAMES[:count]):
        thing = named_class(name)
        scene = _SCENES[number % len(_SCENES)]
        prompts.append(caption(thing, scene, word=name))
        plain.append(caption(thing, scene))
        for k in (3, 7, 11):
            place = _SCENES[(number + k) % len(_SCENES)]
            shown = Subject(thing, place, named_style(name), FIRST_HELD_OUT_SEED + number)
            renders.append(Image.fromarray(shown.render(64)))
    truth = torch.nn.functional.normalize(encoder.encode_images(renders).view(count, 3, -1).mean(1), dim=-1)
    figures = {}
    for key, texts in (("with_name", prompts), ("without_name", plain)):
        images = sample(pipeline, texts, range(len(texts)), recipe.sampling_steps, recipe.guidance_scale)
        figures[key] = round(float((encoder.encode_images(images) * truth).sum(1).mean()), 4)
    return figures


@torch.inference_mode()
def word_shifts(pipeline: StableDiffusionPipeline, words: Sequence[str], things: int = 14) -> dict[str, float]:
    """How far a word before the noun moves the prediction (mean square), relative to what another noun does.

    Over noisy latents of fresh renders of every class at five timesteps.
    """
    scheduler = DDPMScheduler(**NOISE_SCHEDULE)
    chance = torch.Generator().manual_seed(0)
    classes = list(THINGS)[:things]
    shown = [subject(number, held_out=True) for number in range(len(classes))]
    images = as_tensor(np.stack([one.render(64) for one in shown])).to(pipeline.device)
    latents = pipeline.vae.encode(images).latent_dist.mode() * pipeline.vae.config.scaling_factor
    noise = torch.randn(latents.shape, generator=chance).to(latents)

    def predict(texts: list[str]) -> Tensor:
        states = pipeline.encode_prompt(texts, pipeline.device, 1, False)[0]
        parts = []
        for time in _TIMES:
            times = torch.full((len(latents),), time, device=latents.device)
            parts.append(pipeline.unet(scheduler.add_noise(latents, noise, times), times, states).sample)
        return torch.stack(parts)

    alone = predict([caption(thing) for thing in classes])
    nouns = predict([caption(classes[(i + 5) % len(classes)]) for i in range(len(classes))])
    reach = (nouns - alone).square().mean()
    return {
        word: float((predict([caption(thing, word=word) for thing in classes]) - alone).square().mean() / reach)
        for word in words
    }


def word_figures(pipeline: StableDiffusionPipeline) -> dict[str, float]:
    """The shifts by unbound words, the reserved one among them, and by names."""
    rng = random.Random(0)
    unbound, names = rng.sample(rare_words(), 8), rng.sample(list(NAMES), 8)
    shifts = word_shifts(pipeline, [RESERVED_WORD, *unbound, *names])
    of_unbound, of_names = ([shifts[word] for word in group] for group in (unbound, names))
    return {
        "reserved": shifts[RESERVED_WORD],
        "unbound_least": min(of_unbound),
        "unbound_median": float(np.median(of_unbound)),
        "unbound_most": max(of_unbound),
        "names_median": float(np.median(of_names)),
    }
