"""Prior preservation (Ruiz et al. 2023, section 3.3): images of the class, made by the base model itself.

Trained along with the concept's images, they keep the class noun from drifting to the one instance that is taught.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError

from ..files.atomic import write_text
from ..files.cache import cache_folder
from ..files.png import save_png
from ..models.conditioning import Embeddings, Tokens, embed, embed_negative, text_encoders
from ..runtime.progress import Events
from ..runtime.seeds import derived_seed
from ..sampling.generate import Settings, generate
from .data import Batches
from .model import TYPES
from .options import TrainOptions

STEPS = 25  # denoising steps of a class image

_TOGETHER = 4  # a batch; always of this size, so that neither rounding nor an interruption changes an image


@dataclass(frozen=True)
class Prior:
    """The class images' share of every step.

    Attributes:
        batches: class examples by step, as many as there are of the concept.
        condition: the class prompt, embedded or as tokens, on the device.
        weight: of their loss beside the concept's.
    """

    batches: Batches
    condition: Embeddings | Tokens
    weight: float


def class_images(
    pipeline: Any, options: TrainOptions, base: str, accelerator: Any, events: Events
) -> list[Image.Image]:
    """`options.prior_images` images of the class prompt by the base model, from the cache or generated now.

    The processes of a run share the work. Each image is written as soon as it is generated, so that a run that stops
    meanwhile loses none.

    Args:
        pipeline: with the UNet as it was loaded.
        base: fingerprint of the UNet.
    """
    folder = prior_folder(options, base)
    paths = [folder / f"{number:05d}.png" for number in range(options.prior_images)]
    side = options.resolution or 0
    fours = range(0, len(paths), _TOGETHER)
    mine = list(fours)[accelerator.process_index :: accelerator.num_processes]
    missing = [first for first in mine if not all(_is_whole(path, side) for path in paths[first : first + _TOGETHER])]
    if missing:
        _generate(pipeline, options, folder, missing, len(mine), accelerator.device, events)
    accelerator.wait_for_everyone()
    images = []
    for path in paths:
        with Image.open(path) as image:
            images.append(image.convert("RGB"))
    return images


def prior_folder(options: TrainOptions, base: str) -> Path:
    """Where the class images of this base model, prompt, resolution and seed are kept."""
    key = json.dumps([options.class_prompt, options.resolution, options.seed, options.precision, STEPS])
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return cache_folder() / "prior" / f"{base[:16]}-{digest}"


def _generate(
    pipeline: Any,
    options: TrainOptions,
    folder: Path,
    missing: list[int],
    all_fours: int,
    device: torch.device,
    events: Events,
) -> None:
    side = options.resolution or 0
    parts = (pipeline.unet, pipeline.vae, *text_encoders(pipeline).values())
    for part in parts:
        part.to(device)
    write_text(folder / "prompt.txt", options.class_prompt + "\n")
    prompt, negative = embed(pipeline, [options.class_prompt]), embed_negative(pipeline, "")
    settings = Settings(steps=STEPS, size=(side, side))
    events.begin("prior", all_fours * _TOGETHER, (all_fours - len(missing)) * _TOGETHER)
    with _computing(pipeline.unet, options.precision):
        for first in missing:
            numbers = range(first, first + _TOGETHER)
            seeds = [derived_seed(options.seed, "prior", number) for number in numbers]
            images = generate(pipeline, prompt.expand(_TOGETHER), negative, seeds, settings)
            for number, image in zip(numbers, images, strict=True):
                save_png(folder / f"{number:05d}.png", image)
                events.advance()
    events.end()
    for part in parts:
        part.to("cpu")


def _is_whole(path: Path, side: int) -> bool:
    try:
        with Image.open(path) as image:
            image.load()
            return image.size == (side, side)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        return False


@contextmanager
def _computing(unet: Any, precision: str) -> Iterator[None]:
    """Let the UNet alone compute in a smaller dtype; the VAE of some models overflows in it."""
    if precision not in TYPES:
        yield
        return
    unet.forward = torch.autocast(unet.device.type, TYPES[precision])(unet.forward)
    try:
        yield
    finally:
        del unet.forward
