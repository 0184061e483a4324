"""Images from a loaded pipeline: the same seed gives the same image, whatever else is in its batch."""

import functools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..core.precision import DTYPES, all_finite
from ..errors import AtomtuneError
from ..models.base_model import ModelSource, load_pipeline, pick_device, pick_precision
from ..models.conditioning import Embeddings, embed, embed_negative
from .options import Settings
from .schedulers import use_scheduler


@dataclass(frozen=True)
class GeneratedImage:
    """One image on disk, with the prompt and the seed that it was generated from."""

    path: Path
    prompt: str
    seed: int

    def load(self) -> Image.Image:
        """The image, RGB."""
        with Image.open(self.path) as opened:
            return opened.convert("RGB")


def load_sampler(source: ModelSource, scheduler: str | None, device: str | None, precision: str) -> Any:
    """A pipeline on its device, ready to generate. Raises UsageError for an unknown scheduler."""
    place = pick_device(device)
    pipeline = load_pipeline(source, DTYPES[pick_precision(precision, place)])
    if scheduler is not None:
        use_scheduler(pipeline, scheduler)
    return pipeline.to(place)


def generate_images(
    pipeline: Any, wanted: Sequence[tuple[str, int]], settings: Settings, batch_size: int
) -> Iterator[Image.Image]:
    """One image for each pair of prompt and seed, in their order, each batch as soon as it is done.

    Raises AtomtuneError where an image is not finite.
    """
    # one by one, so that an image does not depend on what else is generated
    embedded = {prompt: embed(pipeline, [prompt]) for prompt in dict.fromkeys(prompt for prompt, _ in wanted)}
    negative = embed_negative(pipeline, settings.negative_prompt)
    for first in range(0, len(wanted), batch_size):
        batch = wanted[first : first + batch_size]
        embeddings = functools.reduce(operator.add, (embedded[prompt] for prompt, _ in batch))
        yield from generate(pipeline, embeddings, negative, [seed for _, seed in batch], settings)


@torch.no_grad()
def generate(
    pipeline: Any, embeddings: Embeddings, negative: Embeddings, seeds: Sequence[int], settings: Settings
) -> list[Image.Image]:
    """One image for each embedding and its seed.

    Args:
        embeddings: of n prompts, on any device.
        negative: the negative prompt's.
        seeds: n seeds; each image has a generator of its own, on the CPU.

    Raises:
        AtomtuneError: an image is not finite, or neither settings nor model say a size.
    """
    if settings.size is None and pipeline.unet.config.sample_size is None:
        raise AtomtuneError("the model does not say its image size", "choose one, as in --size 512x512")
    width, height = settings.size or (None, None)
    # the decoder's type is the images'; a UNet in training may hold some of its weights in another
    device, dtype = pipeline.unet.device, pipeline.vae.dtype
    positive = embeddings.to(device, dtype)
    unwanted = negative.to(device, dtype).expand(len(positive))
    pooled = {"pooled_prompt_embeds": positive.pooled, "negative_pooled_prompt_embeds": unwanted.pooled}
    result = pipeline(
        prompt_embeds=positive.states,
        negative_prompt_embeds=unwanted.states,
        **({} if positive.pooled is None else pooled),
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance_scale,
        width=width,
        height=height,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        output_type="pt",
    )
    pixels: Tensor = result.images
    if not all_finite(pixels):
        raise AtomtuneError(
            "the images are not finite", "the atoms may be too strong: try a lower --scale, or --precision fp32"
        )
    array = (pixels.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(image) for image in array]
