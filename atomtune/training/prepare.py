"""What training will see of a concept's images, without a model's weights."""

import math
from dataclasses import dataclass
from pathlib import Path

from ..data.concept import check_prompts
from ..data.contact_sheet import captioned_sheet
from ..data.image_files import find_images
from ..data.images import TrainingImage, duplicates, nearly_the_same
from ..errors import UsageError
from ..files.output_folder import check_replaceable, claim
from ..files.png import save_png
from ..models.architecture import native_resolution
from ..models.base_model import resolve
from ..models.tokenizer import clip_tokenizer
from ..runtime.progress import Events
from .material import read_material
from .options import PrepareOptions
from .validation import split

_SIDE, _SMALL = 224, 96
"""Pixels of an image on the sheet, and on one of many."""

_MOST_CAPTIONED = 120
"""Images up to which the sheet has their captions."""


@dataclass(frozen=True)
class PreparedImage:
    """One image.

    Attributes:
        width, height: of the whole image, upright, in pixels.
        caption: as the text encoder gets it.
        same_as: an earlier image with the same pixels; similar_to: one that is nearly the same.
        enlarged: smaller than the training resolution.
        masked: its mask counts; the sheet shows in pink what it leaves out.
        trained_width, trained_height: of what is cut out for training.
        held_out: kept out of training, for the held-out loss.
    """

    path: Path
    width: int
    height: int
    caption: str
    same_as: Path | None
    enlarged: bool
    masked: bool
    trained_width: int
    trained_height: int
    held_out: bool = False
    similar_to: Path | None = None


@dataclass(frozen=True)
class Prepared:
    """What training will see, and what is odd about it: `warnings`. `base` is the model whose resolution counts.

    Attributes:
        words: for the concepts in prompts, token and class noun.
    """

    sheet: Path
    base: str
    resolution: int
    crop: str
    flip: bool
    images: list[PreparedImage]
    warnings: list[str]
    words: str = ""
    class_noun: str = ""


@dataclass(frozen=True)
class Seen:
    """What a run with certain options would see.

    Attributes:
        base, side: the model whose resolution counts, and that resolution.
        crops: the images, with thumbnails of what is trained on, each with its `facts`.
    """

    base: str
    side: int
    crops: list[TrainingImage]
    facts: list[PreparedImage]
    warnings: list[str]


class _Listening(Events):
    """Passes warnings on and keeps them."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self.events.warn(text)


def prepare(
    options: PrepareOptions, output: Path, *, overwrite: bool = False, events: Events | None = None
) -> Prepared:
    """Read the images and captions as a run with these options would, and write `output`/prepare.png.

    Raises AtomtuneError where images or captions cannot be read, UsageError as `check_prompts`, and where the sheet is
    there already and `overwrite` is not set, or was not written by atomtune.
    """
    sheet = output / "prepare.png"
    if sheet.exists() and not overwrite:
        raise UsageError(f"{sheet} is there already", "--overwrite replaces it, --output names another folder")
    check_replaceable(output, [sheet.name])
    is_large = sum(len(find_images(taught.images)[0]) for taught in options.taught) > _MOST_CAPTIONED
    side = _SMALL if is_large else _SIDE
    seen = examine(options, events, side)
    labels = [
        (image.path.name if is_large else _label(image), "" if is_large else image.caption) for image in seen.facts
    ]
    columns = max(min(len(labels), 5), math.isqrt(len(labels) - 1) + 1)
    claim(output, [sheet.name])
    shown = [image.thumbnail for image in seen.crops if image.thumbnail is not None]
    save_png(sheet, captioned_sheet(shown, labels, columns, side))
    words = " and ".join(concept.words for concept in options.concepts)
    noun = " and ".join(dict.fromkeys(concept.class_noun for concept in options.concepts))
    return Prepared(sheet, seen.base, seen.side, options.crop, options.flip, seen.facts, seen.warnings, words, noun)


def examine(options: PrepareOptions, events: Events | None = None, side: int = 2 * _SIDE) -> Seen:
    """Look at the images and captions as a run with these options would see them; nothing is written.

    Args:
        side: of the thumbnails.

    Raises AtomtuneError where images or captions cannot be read, UsageError as `check_prompts`.
    """
    listening = _Listening(events or Events())
    source = resolve(options.model)
    resolution = options.resolution or native_resolution(source)
    material = read_material(options, source, resolution, listening, thumbnail=side)
    images, captions = material.images, material.captions
    for warning in check_prompts(clip_tokenizer(), material.texts, options.concepts):
        listening.warn(warning)
    similar = {other.path: one.path for one, other in nearly_the_same(images)}
    kept_out = {image.path for image in split(material, options)[1].images}
    first = {copy.path: group[0].path for group in duplicates(images) for copy in group[1:]}
    prepared = [
        PreparedImage(
            image.path,
            *image.size,
            caption,
            first.get(image.path),
            image.is_enlarged,
            image.has_mask,
            *image.shape,
            image.path in kept_out,
            similar.get(image.path),
        )
        for image, caption in zip(images, captions, strict=True)
    ]
    return Seen(source.name, resolution, images, prepared, listening.warnings)


def _label(image: PreparedImage) -> str:
    notes = [f"same as {image.same_as.name}"] if image.same_as else []
    notes += [f"like {image.similar_to.name}"] if image.similar_to else []
    notes += ["enlarged"] if image.enlarged else []
    notes += ["kept out"] if image.held_out else []
    notes += [] if image.trained_width == image.trained_height else [f"{image.trained_width}x{image.trained_height}"]
    return " · ".join([image.path.name, f"{image.width}x{image.height}", *notes])
