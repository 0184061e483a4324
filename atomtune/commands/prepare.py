"""atomtune prepare: what training will see of the images."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import Console, fields
from .shared import (
    OUTPUT,
    ClassName,
    ConceptName,
    Crop,
    Flip,
    Images,
    Model,
    Overwrite,
    Prompt,
    Resolution,
    Seed,
    Token,
)

if TYPE_CHECKING:
    from ..training.prepare import Prepared


def prepare(
    console: Console,
    concept: ConceptName,
    images: Images = None,
    class_name: ClassName = None,
    token: Token = "sks",
    prompt: Prompt = "a photo of a {}",
    model: Model = None,
    resolution: Resolution = None,
    crop: Crop = "center",
    flip: Flip = False,
    seed: Seed = 0,
    output: Annotated[
        Path | None,
        typer.Option(help=r"Folder for prepare.png. \[default: runs/NAME]", metavar="DIR", rich_help_panel=OUTPUT),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Check the images of a concept and show what training will see of them.

    Takes the options that train will be given. Writes prepare.png, a sheet of the images as they will be cut, with
    their captions; loads no weights.
    """
    from ..data.concept import Concept
    from ..training.options import PrepareOptions
    from ..training.prepare import prepare as look

    options = PrepareOptions(
        concept=Concept(concept, class_name or concept, token),
        images=images or Path("concepts") / concept,
        model=model,
        prompt=prompt,
        resolution=resolution,
        crop=crop,
        flip=flip,
        seed=seed,
    )
    prepared = look(options, output or Path("runs") / concept, overwrite=overwrite, events=console.events)
    console.result(asdict(prepared), _text(prepared))


def _text(prepared: "Prepared") -> str:
    images = {image.path.name: f"{image.width}×{image.height}  {image.caption}" for image in prepared.images}
    mirrored = ", each mirrored half of the time" if prepared.flip else ""
    seen = f"{len(images)} images at {prepared.resolution}×{prepared.resolution}, {prepared.crop} crop{mirrored}"
    return f"{fields(images)}\n\n{seen}\n{prepared.sheet}"
