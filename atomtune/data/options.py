"""Options that say what is learned, and from which images."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..runtime.option import option
from ..runtime.options import Options
from .concept import Concept, expand, names

CROPS = ("center", "random", "smart")
MASK_WAYS = ("border", "color", "rembg")


@dataclass(frozen=True, kw_only=True)
class DataOptions(Options, panel="Concept and images"):
    """The concept and its images.

    Attributes:
        concept: what is learned.
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
    flip: bool = option(False, "Random horizontal flips.", aliases=("random_flip",))
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

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        try:
            if not names(expand(self.prompt, [self.concept]), self.concept):
                name = self.concept.name
                yield "prompt", f"{self.prompt!r} does not name the concept: {{}} or <{name}> stands for it"
        except UsageError as problem:
            yield "prompt", problem.message
