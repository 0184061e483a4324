"""Prior preservation (Ruiz et al. 2023, section 3.3): images of the class, made by the base model itself.

Trained along with the concept's images, they keep the class noun from drifting to the one instance that is taught.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError

from ..data.images import load_images, pixel_digest
from ..data.shapes import Size
from ..files.atomic import write_text
from ..files.cache import cache_folder
from ..files.png import save_png
from ..models.conditioning import Embeddings, Tokens, embed, embed_negative, text_encoders
from ..runtime.progress import Events
from ..runtime.seeds import derived_seed
from ..runtime.units import counted
from ..sampling.generate import generate
from ..sampling.options import Settings
from .material import Material
from .model import computing_in
from .options import TrainOptions
from .shaped_batches import AnyBatches

STEPS = 25  # denoising steps of a class image

_SIGNATURE = "atomtune:pixels"  # the text in a PNG that holds the digest of its pixels

_TOGETHER = 4  # a batch; always of this size, so that neither rounding nor an interruption changes an image


@dataclass(frozen=True)
class Prior:
    """The class images' share of every step.

    Attributes:
        batches: class examples by step, as many as there are of the concept.
        condition: the class prompts, embedded or as tokens, on the device; the batches' captions are their numbers.
        weight: of their loss beside the concept's.
    """

    batches: AnyBatches
    condition: Embeddings | Tokens
    weight: float


@dataclass(frozen=True)
class ClassImages:
    """What decides the class images.

    Attributes:
        size: width and height in pixels.
        seed: of the run.
        precision: type that the UNet computes in.
    """

    prompt: str
    count: int
    size: Size
    seed: int
    precision: str

    @classmethod
    def of(cls, options: TrainOptions, size: Size, count: int, number: int = 0) -> "ClassImages":
        """So many class images of a size for a run, of the class of its concept of this number."""
        return cls(options.class_prompts[number], count, size, options.seed, options.precision)

    def folder(self, base: str) -> Path:
        """Where those of a base model, by the fingerprint of its UNet, are kept."""
        side = self.size[0] if self.size[0] == self.size[1] else self.size  # squares are as they have always been
        key = json.dumps([self.prompt, side, self.seed, self.precision, STEPS])
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        return cache_folder() / "prior" / f"{base[:16]}-{digest}"


@dataclass(frozen=True)
class ClassImage:
    """One image of the class, cut to one of the shapes of the concept's images.

    Attributes:
        conditioning: see `TrainingImage.conditioning`.
        of: number of the concept whose class it is.
    """

    image: Image.Image
    conditioning: tuple[int, ...]
    of: int = 0


def class_images_of(
    material: Material, options: TrainOptions, pipeline: Any, base: str, accelerator: Any, events: Events
) -> tuple[list[ClassImage], dict[str, str]]:
    """The class images of every concept, and their digests by `GENERATED` and `OWN`.

    Args:
        pipeline, base: see `class_images`.
    """
    found: dict[str, list[ClassImage]] = {GENERATED: [], OWN: []}
    for number, taught in enumerate(material.taught):
        counts = material.shapes_of(number)
        if taught.prior_dir is not None:
            found[OWN] += own_class_images(options, taught.prior_dir, list(counts), events, number)
        else:
            found[GENERATED] += generated_class_images(pipeline, options, counts, base, accelerator, events, number)
    digests = {kind: images_digest([item.image for item in items]) for kind, items in found.items() if items}
    return sorted((item for items in found.values() for item in items), key=lambda item: item.of), digests


def own_class_images(
    options: TrainOptions, folder: Path, wanted: Sequence[Size], events: Events, number: int = 0
) -> list[ClassImage]:
    """The class images of the user's folder, in the order of their names, each cut to the nearest of some shapes.

    To a shape that is the nearest one of none, all are cut. Raises as `load_images`.

    Args:
        number: of the concept.
    """
    read = partial(
        load_images,
        folder,
        options.resolution or 0,
        crop=options.crop,
        seed=options.seed,
        usual=False,
    )
    found = read(known=list(wanted), events=events)
    events.phase(f"{counted(len(found), 'class image')} in {folder}")
    for shape in wanted:
        if all(image.shape != shape for image in found):
            found += read(known=[shape])
    return [ClassImage(image.image, image.conditioning(), number) for image in found]


def generated_class_images(
    pipeline: Any,
    options: TrainOptions,
    counts: Mapping[Size, int],
    base: str,
    accelerator: Any,
    events: Events,
    number: int = 0,
) -> list[ClassImage]:
    """`--prior-images` images of the class, in the shapes of the concept's images and as often as these have them.

    Args:
        counts: of the concept's images, by their shapes; base: see `class_images`; number: of the concept.
    """
    found = []
    for (width, height), count in shares(options.prior_images, counts).items():
        wanted = ClassImages.of(options, (width, height), count, number)
        whole = (height, width, 0, 0, height, width)
        made = class_images(pipeline, wanted, base, accelerator, events)
        found += [ClassImage(image, whole, number) for image in made]
    return found


def shares(total: int, counts: Mapping[Size, int]) -> dict[Size, int]:
    """A number shared out in proportion to some counts; each gets one at least."""
    whole, before, found = sum(counts.values()), 0, {}
    for shape, count in counts.items():
        found[shape] = max(1, total * (before + count) // whole - total * before // whole)
        before += count
    return found


def class_images(pipeline: Any, wanted: ClassImages, base: str, accelerator: Any, events: Events) -> list[Image.Image]:
    """Images of the class by the base model, from the cache or generated now.

    The processes of a run share the work. Each image is written as soon as it is generated, so that a run that stops
    meanwhile loses none. An image in the cache that is not the one that was written there is generated again.

    Args:
        pipeline: with the UNet as it was loaded.
        base: fingerprint of the UNet.
    """
    folder = wanted.folder(base)
    paths = [folder / f"{number:05d}.png" for number in range(wanted.count)]
    fours = range(0, len(paths), _TOGETHER)
    mine = list(fours)[accelerator.process_index :: accelerator.num_processes]
    found = {path: _digests(path, wanted.size) for path in paths}
    are_signed = any(signature for signature, _ in found.values())  # version 0.1 did not sign them
    wrong = {path for path, (signature, pixels) in found.items() if not pixels or (are_signed and signature != pixels)}
    for path in (path for path in paths if path in wrong and path.is_file()):
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
    settings = Settings(steps=STEPS, size=wanted.size)
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


def _digests(path: Path, size: Size) -> tuple[str, str]:
    """The digest that was written into an image, and that of its pixels; empty where there is none, or no image."""
    try:
        with Image.open(path) as image:
            pixels = pixel_digest(image.convert("RGB")) if image.size == size else ""
            return str(image.info.get(_SIGNATURE, "")), pixels
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        return "", ""
