"""The images and captions of a concept, as a run with certain options sees them."""

from ..data.captions import captions_of
from ..data.images import TrainingImage, load_images
from ..data.shapes import Size, shapes
from ..models.architecture import size_multiple
from ..models.base_model import ModelSource
from ..runtime.progress import Events
from .options import PrepareOptions, TrainOptions


def known_shapes(options: TrainOptions | PrepareOptions, source: ModelSource, side: int) -> list[Size]:
    """The shapes that images are cut to: the square, and others of its area without `--square`."""
    return [(side, side)] if options.square else shapes(side, size_multiple(source))


def read_material(
    options: TrainOptions | PrepareOptions, source: ModelSource, side: int, events: Events
) -> tuple[list[TrainingImage], list[str]]:
    """The images, of about the area of a square of `side` pixels, and the caption of each, see `captions_of`.

    Raises as `load_images` and `captions_of`.
    """
    images = load_images(
        options.images,
        side,
        known=known_shapes(options, source, side),
        crop=options.crop,
        seed=options.seed,
        masked=options.masked,
        events=events,
    )
    paths = [image.path for image in images]
    return images, captions_of(paths, options.prompt, options.concept, events, lines=options.caption_lines)
