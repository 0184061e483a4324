"""Options that say what is learned, and from which images."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ..errors import UsageError
from ..runtime.option import option
from ..runtime.options import Options
from .concept import Concept, expand, names

CROPS = ("center", "random", "smart")
MASK_WAYS = ("border", "color", "rembg")


@dataclass(frozen=True, kw_only=True)
class TaughtConcept(Options, panel="Concept and images"):
    """One of the concepts of a run.

    Attributes:
        prompt: as in `DataOptions`; prior_prompt, prior_dir: of its class, as in `PriorOptions`.
    """

    concept: Concept
    images: Path = option(
        None, "Folder of its images.", derived=lambda taught: Path("concepts") / taught.concept.name, metavar="DIR"
    )
    prompt: str = option("a photo of a {}", "Caption of its images without a text file of their own.", metavar="PROMPT")
    repeats: int = option(1, "How often each of its images is shown.", at_least=1, metavar="N")
    prior_prompt: str | None = option(None, "Prompt of its class images.", metavar="PROMPT")
    prior_dir: Path | None = option(None, "Folder of class images of your own.", metavar="DIR")

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The concept of NAME or NAME=NOUN, with all else as by default. Raises UsageError as `Concept`."""
        return cls(concept=Concept(text))


@dataclass(frozen=True, kw_only=True)
class DataOptions(Options, panel="Concept and images"):
    """The concepts and their images.

    Attributes:
        concept: what is learned; others: more of it in the same run.
        prompt: the caption of every image without a text file of its own; `<name>` or `{}` stands for the concept.
        resolution: None for the model's own.
        square: all images are squares; else they have the shapes of `shapes.shapes`.
        crop: see `crop.place_of`.
        masked, mask_floor: see `masks`.
    """

    concept: Concept
    images: Path = option(
        None,
        "Folder of training images; 4 to 9 are enough.",
        derived=lambda options: Path("concepts") / options.concept.name,
        shown_default="concepts/NAME",
        metavar="DIR",
        aliases=("instance_data_dir",),
        essential=True,
    )
    prompt: str = option(
        "a photo of a {}",
        "Caption of images without a text file of their own (01.txt beside 01.jpg); {} stands for the concept.",
        metavar="PROMPT",
        aliases=("instance_prompt",),
        essential=True,
    )
    others: tuple[TaughtConcept, ...] = option(
        (),
        "Another concept of the same run, as a further --concept is; give it again for more.",
        name="other_concept",
        metavar="NAME[=NOUN]",
        each=TaughtConcept,
        further_of="concept",
    )
    repeats: int = option(
        1,
        "How often each image of the first of several concepts is shown.",
        at_least=1,
        metavar="N",
        aliases=("num_repeats",),
    )
    resolution: int | None = option(
        None,
        "Side of square training images in pixels; others have as much area.",
        at_least=8,
        multiple_of=8,
        shown_default="the model's",
        metavar="N",
    )
    square: bool = option(
        False,
        "Cut all images to squares; else each keeps its shape as nearly as sizes of the same area allow.",
        unrecorded=True,
    )
    crop: str = option(
        "center", "Where images are cut to their shape; smart keeps detail, colour and skin.", choices=CROPS
    )
    flip: bool = option(False, "Random horizontal flips.", aliases=("random_flip", "flip_aug", "hflip"))
    caption_lines: bool = option(
        False, "Every line of a text file is a caption of its own, one of them by chance.", aliases=("enable_wildcard",)
    )
    caption_dropout: float = option(
        0.0,
        "Share of the examples that are shown with the empty prompt.",
        at_least=0,
        at_most=1,
        metavar="P",
        aliases=("caption_dropout_rate",),
    )
    shuffle_tags: bool = option(
        False, "Shuffle what stands between the commas of a caption.", aliases=("shuffle_caption",)
    )
    keep_tags: int = option(
        1, "The first N tags stay in their place.", at_least=0, metavar="N", aliases=("keep_tokens",)
    )
    masked: bool = option(
        False,
        "Learn what masks show: 01.mask.png beside 01.jpg, white where the concept is, or the image's transparency.",
        aliases=("masked_loss", "alpha_mask"),
    )
    mask_floor: float = option(
        0.1, "Weight of the loss outside of masks; 0 ignores the background.", at_least=0, at_most=1, metavar="W"
    )

    @property
    def taught(self) -> tuple[TaughtConcept, ...]:
        """Every concept of the run, the first one first."""
        first = TaughtConcept(concept=self.concept, images=self.images, prompt=self.prompt, repeats=self.repeats)
        return (first, *self.others)

    @property
    def concepts(self) -> list[Concept]:
        """The words of every concept of the run."""
        return [self.concept, *(other.concept for other in self.others)]

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        concepts = self.concepts
        for taught in self.taught:
            concept = taught.concept
            try:
                if not names(expand(taught.prompt, concepts, own=concept), concept):
                    stands = f"{{}} or <{concept.name}> stands for it"
                    yield "prompt", f"{taught.prompt!r} does not name the concept: {stands}"
            except UsageError as problem:
                yield "prompt", problem.message
        for number, concept in enumerate(concepts):
            for other in concepts[:number]:
                if concept.name == other.name:
                    yield "other_concept", f"{concept.name} is given twice"
                elif not set(concept.token.lower().split()).isdisjoint(other.token.lower().split()):
                    yield (
                        "other_concept",
                        f"{concept.name} has the token {concept.token!r}, as {other.name} has; [[concept]] in a file "
                        "gives it another",
                    )
        if self.repeats > 1 and not self.others:
            yield "repeats", "is for several concepts: of one, every image is shown equally often"
