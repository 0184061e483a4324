"""atomtune prepare: what training will see of the images."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.option import option
from ..runtime.units import counted
from ..sampling.options import RUNS
from ..training.options import PrepareOptions
from .console import Console, fields
from .options.groups import OutputOptions

if TYPE_CHECKING:
    from ..training.prepare import Prepared


@dataclass(frozen=True, kw_only=True)
class PrepareOutput(OutputOptions):
    """Where the sheet goes."""

    output: Path | None = option(None, "Folder for prepare.png.", shown_default="runs/NAME", metavar="DIR")


def prepare(console: Console, options: PrepareOptions, place: PrepareOutput) -> None:
    """Check the images of a concept and show what training will see of them.

    Takes the options that train will be given. Writes prepare.png, a sheet of the images as they will be cut, with
    their captions; loads no weights.

    Examples:
        atomtune prepare --concept castle
        atomtune prepare --concept rex --class-noun dog --images photos --crop smart
    """
    from ..training.prepare import prepare as look

    output = place.output or RUNS / options.concept.name
    prepared = look(options, output, overwrite=place.overwrite, events=console.events)
    console.result(asdict(prepared), _text(prepared))


def _text(prepared: "Prepared") -> str:
    several = len({image.path.parent for image in prepared.images}) > 1
    images = {
        (f"{image.path.parent.name}/" if several else "") + image.path.name: f"{image.width}×{image.height}  "
        + image.caption
        for image in prepared.images
    }
    mirrored = ", each mirrored half of the time" if prepared.flip else ""
    counts = Counter((image.trained_width, image.trained_height) for image in prepared.images)
    shapes = ", ".join(f"{count} at {width}×{height}" for (width, height), count in counts.most_common())
    held_out = sum(image.held_out for image in prepared.images)
    number = counted(len(images), "image") + (f" ({held_out} kept out)" if held_out else "")
    seen = f'{number} of "{prepared.words}": {shapes}, {prepared.crop} crop{mirrored}'
    return f"{fields(images)}\n\n{seen}\nclass noun: {prepared.class_noun}\n{prepared.sheet}"
