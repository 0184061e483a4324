"""atomtune mask: masks of the concept in its images."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ..data.options import MASK_WAYS
from ..runtime.option import option
from ..runtime.options import Options
from ..sampling.options import RUNS
from .console import Console, fields
from .options.groups import OutputOptions


@dataclass(frozen=True, kw_only=True)
class MaskOptions(Options, panel="Masks"):
    """What gets masks, and how they are made."""

    concept: str = option(..., "Name of the concept.", metavar="NAME", word="first")
    images: Path | None = option(None, "Folder of its images.", shown_default="concepts/NAME", metavar="DIR")
    by: str = option(
        "border",
        "How the concept is told from the background: by the colours along the border, one color, or rembg's model.",
        choices=MASK_WAYS,
    )
    color: str | None = option(None, "Colour of the background, with --by color.", metavar="COLOR")

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        if (self.color is not None) != (self.by == "color"):
            yield "color", "goes with --by color, and that needs it, as in --by color --color white"


@dataclass(frozen=True, kw_only=True)
class MaskOutput(OutputOptions):
    """Where the sheet goes."""

    output: Path | None = option(None, "Folder for masks.png.", shown_default="runs/NAME", metavar="DIR")


def mask(console: Console, options: MaskOptions, place: MaskOutput) -> None:
    """Make a mask for every image of a concept, so that train --masked leaves the background out.

    Writes 01.mask.png beside 01.jpg, white where the concept is, and masks.png, a sheet to check them by. Any other
    program can make or mend them.

    Examples:
        atomtune mask --concept mug
        atomtune mask --concept mug --by color --color white
        atomtune mask --concept rex --by rembg
    """
    from ..training.make_masks import make_masks

    made = make_masks(
        options.images or Path("concepts") / options.concept,
        (place.output or RUNS / options.concept) / "masks.png",
        by=options.by,
        color=options.color,
        overwrite=place.overwrite,
        events=console.events,
    )
    shown = {one.mask.name: f"{one.covered:.0%} of the image" for one in made.masks}
    console.result(asdict(made), f"{fields(shown)}\n\n{made.sheet}")
