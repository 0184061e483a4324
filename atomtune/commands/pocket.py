"""atomtune pocket: images of new things to teach to the miniature, and what it knows."""

from pathlib import Path
from typing import Annotated

import typer

from .console import Console, fields
from .shared import OUTPUT

THING = "Thing"

pocket = typer.Typer(
    help="The miniature model: images of new things to teach it, and what it knows.", no_args_is_help=True
)


def images(
    console: Console,
    class_name: Annotated[
        str,
        typer.Option(
            "--class",
            help="What kind of thing, as castle, dog, robot.",
            metavar="NOUN",
            show_default=False,
            rich_help_panel=THING,
        ),
    ],
    instance: Annotated[
        int,
        typer.Option(min=0, help="Which one of it; the model saw none of them.", metavar="N", rich_help_panel=THING),
    ] = 7,
    scenes: Annotated[
        str | None,
        typer.Option(
            help=r"Where it is seen, separated by commas: 'in the snow,on the beach'; plain for no scene. "
            r"\[default: plain and four scenes]",
            metavar="WORDS",
            rich_help_panel=THING,
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(min=1, help=r"How many images. \[default: one of each scene]", metavar="N", rich_help_panel=THING),
    ] = None,
    size: Annotated[
        int, typer.Option(min=8, max=256, help="Side of the images in pixels.", metavar="N", rich_help_panel=OUTPUT)
    ] = 64,
    masks: Annotated[
        bool,
        typer.Option("--masks", help="Write 01.mask.png beside 01.png: white the thing.", rich_help_panel=OUTPUT),
    ] = False,
    output: Annotated[
        Path,
        typer.Option(
            "--out",
            "--output",
            help="Folder for the images.",
            metavar="DIR",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = ...,  # type: ignore[assignment]
) -> None:
    """Render images of a thing that the miniature never saw, ready to be taught to it."""
    from ..demo.concept_folder import write_concept
    from ..pocket.concept import TRAINING_SCENES, concept_images, new_thing

    asked = TRAINING_SCENES if scenes is None else _scenes(scenes)
    rendered = concept_images(class_name, new_thing(instance), asked, count, size)
    files = write_concept(output, rendered, masks=masks)
    teach = f"atomtune train --model pocket --concept {output.name} --class-name {class_name} --images {output}"
    facts = {
        "class": class_name,
        "instance": instance,
        "size": size,
        "images": [{"path": str(file.image), "scene": file.scene, "mask": _text(file.mask)} for file in files],
        "output": str(output),
        "next": teach,
    }
    console.result(facts, fields({"images": f"{len(files)} in {output}", "next": teach}))


def list_(console: Console) -> None:
    """Show the classes, scenes and colours that the miniature knows."""
    from ..pocket.world import HUES, SCENES, THINGS

    scenes = [scene for scene in SCENES if scene]
    facts = {"classes": list(THINGS), "scenes": scenes, "colors": list(HUES)}
    shown = {"classes": ", ".join(THINGS), "scenes": ", ".join(scenes), "colors": ", ".join(HUES)}
    console.result(facts, fields(shown))


def _scenes(text: str) -> list[str]:
    words = [part.strip() for part in text.split(",")]
    return ["" if scene == "plain" else scene for scene in words if scene]


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
