"""The images and captions of a run's concepts, as a run with certain options sees them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..data.captions import captions_of
from ..data.images import TrainingImage, load_images
from ..data.options import TaughtConcept
from ..data.shapes import Size, shapes
from ..models.architecture import size_multiple
from ..models.base_model import ModelSource
from ..runtime.progress import Events
from .options import PrepareOptions, TrainOptions


@dataclass(frozen=True)
class Material:
    """What a run sees: the images of its concepts, those of the first one first.

    Attributes:
        taught: the concepts.
        images, captions: of all of them; captions as `captions_of` gives them.
        of: the number of each image's concept.
    """

    taught: tuple[TaughtConcept, ...]
    images: list[TrainingImage]
    captions: list[str]
    of: list[int]

    @property
    def texts(self) -> list[str]:
        """Every caption, those that an image has several of too."""
        return [line for caption in self.captions for line in caption.splitlines()]

    @property
    def repeats(self) -> list[int]:
        """How often each image is shown where every other is shown once."""
        return [self.taught[number].repeats for number in self.of]

    def shapes_of(self, number: int) -> Counter[Size]:
        """How many images of a concept have each shape."""
        return Counter(image.shape for image, of in zip(self.images, self.of, strict=True) if of == number)

    def chosen(self, indices: Sequence[int]) -> "Material":
        """Some of the images."""
        return Material(
            self.taught,
            [self.images[index] for index in indices],
            [self.captions[index] for index in indices],
            [self.of[index] for index in indices],
        )

    @property
    def files(self) -> list[str]:
        """The name of each image's file; those of further concepts with their concept, "rex/01.jpg"."""
        folders = ["", *(f"{taught.concept.name}/" for taught in self.taught[1:])]
        return [folders[of] + image.path.name for image, of in zip(self.images, self.of, strict=True)]

    def entries(self) -> list[dict[str, str]]:
        """File name, digest of the pixels, caption and digest of the mask of every image, for run.json."""
        return [
            {"file": file, "digest": image.digest, "caption": caption}
            | ({"mask": image.mask_digest} if image.mask_digest else {})
            for file, image, caption in zip(self.files, self.images, self.captions, strict=True)
        ]


def known_shapes(options: TrainOptions | PrepareOptions, source: ModelSource, side: int) -> Sequence[Size]:
    """The shapes that images are cut to: the square, and others of its area without `--square`."""
    return [(side, side)] if options.square else shapes(side, size_multiple(source))


def read_material(
    options: TrainOptions | PrepareOptions,
    source: ModelSource,
    side: int,
    events: Events,
    thumbnail: int | None = None,
) -> Material:
    """What a run sees, its images of about the area of a square of `side` pixels.

    Args:
        thumbnail: they are only looked at, see `load_images`.

    Raises as `load_images` and `captions_of`.
    """
    found = Material(options.taught, [], [], [])
    for number, taught in enumerate(options.taught):
        images = load_images(
            taught.images,
            side,
            known=known_shapes(options, source, side),
            crop=options.crop,
            seed=options.seed,
            masked=options.masked,
            thumbnail=thumbnail,
            events=events,
        )
        paths = [image.path for image in images]
        found.images.extend(images)
        found.captions.extend(
            captions_of(
                paths,
                taught.prompt,
                taught.concept,
                events,
                among=options.concepts,
                lines=options.caption_lines,
            )
        )
        found.of.extend([number] * len(images))
    return found
