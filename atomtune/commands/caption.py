"""atomtune caption: captions of a concept's images."""

from dataclasses import asdict

from ..captioning.options import CaptionOptions
from ..runtime.units import counted
from .console import Console, fields
from .options.groups import OutputOptions


def caption(console: Console, options: CaptionOptions, place: OutputOptions) -> None:
    """Write a caption for every image of a concept, by a model that describes images.

    Writes 01.txt beside 01.jpg, with {} in the place of the class noun, for train to put the concept there. Text
    files that are there already stay; --overwrite writes those again that were made so and that nobody has changed.

    Examples:
        atomtune caption --concept mug
        atomtune caption --concept rex=dog --with blip-2
        atomtune caption --concept castle --with pocket --overwrite
    """
    from ..captioning.captions import make_captions
    from ..captioning.describers import describer

    made = make_captions(
        options.folder,
        options.of,
        lambda: describer(options),
        overwrite=place.overwrite,
        events=console.events,
    )
    written = sum(one.written for one in made)
    kept = f", {len(made) - written} kept as they were" if written < len(made) else ""
    shown = {one.file.name: one.caption for one in made}
    data = {"captions": [asdict(one) for one in made], "written": written}
    console.result(data, f"{fields(shown)}\n\n{counted(written, 'caption')} written{kept}")
