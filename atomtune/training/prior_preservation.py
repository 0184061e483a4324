"""Prior preservation (Ruiz et al. 2023, section 3.3): images of the class, made by the base model itself.

Trained along with the concept's images, they keep the class noun from drifting to the one instance that is taught.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError

from ..data.images import load_images, pixel_digest
from ..files.atomic import write_text
from ..files.cache import cache_folder
from ..files.png import save_png
from ..models.conditioning import Embeddings, Tokens, embed, embed_negative, text_encoders
from ..runtime.progress import Events
from ..runtime.seeds import derived_seed
from ..runtime.units import counted
from ..sampling.generate import generate
from ..sampling.options import Settings
from .data import Batches
from .model import computing_in
from .options import TrainOptions

STEPS = 25  # denoising steps of a class image

_SIGNATURE = "atomtune:pixels"  # the text in a PNG that holds the digest of its pixels

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


@dataclass(frozen=True)
class ClassImages:
    """What decides the class images.

    Attributes:
        side: in pixels.
        seed: of the run.
        precision: type that the UNet computes in.
    """

    prompt: str
    count: int
    side: int
    seed: int
    precision: str

    @classmethod
    def of(cls, options: TrainOptions) -> "ClassImages":
        """The class images of a run whose resolution is known."""
        prompt = options.class_prompt(options.concept)
        return cls(prompt, options.prior_images, options.resolution or 0, options.seed, options.precision)

    def folder(self, base: str) -> Path:
        """Where those of a base model, by the fingerprint of its UNet, are kept."""
        key = json.dumps([self.prompt, self.side, self.seed, self.precision, STEPS])
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        return cache_folder() / "prior" / f"{base[:16]}-{digest}"


def own_class_images(options: TrainOptions, events: Events) -> list[Image.Image]:
    """The class images of the user's folder, in the order of their names, cut as the concept's are.

    Raises as `load_images`.
    """
    assert options.prior_dir is not None
    found = load_images(
        options.prior_dir, options.resolution or 0, crop=options.crop, seed=options.seed, usual=False, events=events
    )
    events.phase(f"{counted(len(found), 'class image')} in {options.prior_dir}")
    return [image.image for image in found]


def class_images(pipeline: Any, wanted: ClassImages, base: str, accelerator: Any, events: Events) -> list[Image.Image]:
    """Images of the class by the base model, from the cache or generated now.

    The processes of a run share the work. Each image is written as soon as it is generated, so that a run that stops
    meanwhile loses none. An image in the cache that is not the one that was written there is generated again.

    Args:
        pipeline: with the UNet as it was loaded.
        base: fingerprint of the UNet.
    """
    folder, side = wanted.folder(base), wanted.side
    paths = [folder / f"{number:05d}.png" for number in range(wanted.count)]
    fours = range(0, len(paths), _TOGETHER)
    mine = list(fours)[accelerator.process_index :: accelerator.num_processes]
    found = {path: _digests(path, side) for path in paths}
    are_signed = any(signature for signature, _ in found.values())  # version 0.1 did not sign them
    wrong = {path for path, (signature, pixels) in found.items() if not pixels or (are_signed and signature != pixels)}
    for path in (path for path in paths if path in wrong and found[path][1]):
        events.warn(f"{path} is not the image that was generated; it is generated again")
    missing = [first for first in mine if not wrong.isdisjoint(paths[first : first + _TOGETHER])]
    if missing:
        _generate(pipeline, wanted, folder, missing, len(mine), accelerator.device, events)
    accelerator.wait_for_everyone()
    images = []
    for path in paths:
        with Image.open(path) as image:
            images.append(image.convert("RGB"))
    return images


GENERATED, OWN = "class images", "images of --prior-dir"
"""What a run's record calls the digest of its class images, generated ones and those of a folder."""


def images_digest(images: Sequence[Image.Image]) -> str:
    """64 hex digits of images in their order."""
    return hashlib.sha256("".join(map(pixel_digest, images)).encode()).hexdigest()


def _generate(
    pipeline: Any,
    wanted: ClassImages,
    folder: Path,
    missing: list[int],
    all_fours: int,
    device: torch.device,
    events: Events,
) -> None:
    parts = (pipeline.unet, pipeline.vae, *text_encoders(pipeline).values())
    for part in parts:
        part.to(device)
    write_text(folder / "prompt.txt", wanted.prompt + "\n")
    prompt, negative = embed(pipeline, [wanted.prompt]), embed_negative(pipeline, "")
    settings = Settings(steps=STEPS, size=(wanted.side, wanted.side))
    events.begin("prior", all_fours * _TOGETHER, (all_fours - len(missing)) * _TOGETHER)
    with computing_in(pipeline.unet, wanted.precision):
        for first in missing:
            numbers = range(first, first + _TOGETHER)
            seeds = [derived_seed(wanted.seed, "prior", number) for number in numbers]
            images = generate(pipeline, prompt.expand(_TOGETHER), negative, seeds, settings)
            for number, image in zip(numbers, images, strict=True):
                save_png(folder / f"{number:05d}.png", image, {_SIGNATURE: pixel_digest(image)})
                events.advance()
    events.end()
    for part in parts:
        part.to("cpu")


def _digests(path: Path, side: int) -> tuple[str, str]:
    """The digest that was written into an image, and that of its pixels; empty where there is none, or no image."""
    try:
        with Image.open(path) as image:
            pixels = pixel_digest(image.convert("RGB")) if image.size == (side, side) else ""
            return str(image.info.get(_SIGNATURE, "")), pixels
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        return "", ""
