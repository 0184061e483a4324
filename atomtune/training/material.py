"""The images and captions of a concept, as a run with certain options sees them."""

from ..data.captions import captions_of
from ..data.images import TrainingImage, load_images
from ..runtime.progress import Events
from .options import PrepareOptions, TrainOptions


def read_material(
    options: TrainOptions | PrepareOptions, side: int, events: Events
) -> tuple[list[TrainingImage], list[str]]:
    """The images, cut to `side` pixels, and the caption of each, see `captions_of`.

    Raises as `load_images` and `captions_of`.
    """
    images = load_images(
        options.images, side, crop=options.crop, seed=options.seed, masked=options.masked, events=events
    )
    paths = [image.path for image in images]
    return images, captions_of(paths, options.prompt, options.concept, events, lines=options.caption_lines)
