"""atomtune pocket: images of new things to teach to the miniature, and what it knows."""

from dataclasses import dataclass
from pathlib import Path

import typer

from ..runtime.option import option
from ..runtime.options import Options
from .console import Console, fields
from .options.command import Group

pocket = typer.Typer(
    cls=Group, help="The miniature model: images of new things to teach it, and what it knows.", no_args_is_help=True
)


@dataclass(frozen=True, kw_only=True)
class ThingOptions(Options, panel="Thing"):
    """What is rendered."""

    kind: str = option(..., "What kind of thing, as castle, dog, robot.", name="class", metavar="NOUN", word="first")
    instance: int = option(7, "Which one of it; the model saw none of them.", at_least=0, metavar="N")
    scenes: str | None = option(
        None,
        "Where it is seen, separated by commas: 'in the snow,on the beach'; plain for no scene.",
        shown_default="plain and four scenes",
        metavar="WORDS",
    )
    count: int | None = option(None, "How many images.", at_least=1, shown_default="one of each scene", metavar="N")
    size: int = option(64, "Side of the images in pixels.", at_least=8, at_most=256, metavar="N", panel="Output")
    masks: bool = option(False, "Write 01.mask.png beside 01.png: white the thing.", panel="Output")
    output: Path = option(..., "Folder for the images.", metavar="DIR", panel="Output", aliases=("out",))


def images(console: Console, options: ThingOptions) -> None:
    """Render images of a thing that the miniature never saw, ready to be taught to it.

    Examples:
        atomtune pocket images --class dog --output concepts/rex
        atomtune pocket images --class castle --instance 3 --scenes 'in the snow,plain' --masks --output concepts/keep
    """
    from ..demo.concept_folder import write_concept
    from ..pocket.concept import TRAINING_SCENES, concept_images, new_thing

    output = options.output
    asked = TRAINING_SCENES if options.scenes is None else _scenes(options.scenes)
    rendered = concept_images(options.kind, new_thing(options.instance), asked, options.count, options.size)
    files = write_concept(output, rendered, masks=options.masks)
    teach = f"atomtune train --model pocket --concept {output.name} --class-noun {options.kind} --images {output}"
    facts = {
        "class": options.kind,
        "instance": options.instance,
        "size": options.size,
        "images": [{"path": str(file.image), "scene": file.scene, "mask": _text(file.mask)} for file in files],
        "output": str(output),
        "next": teach,
    }
    console.result(facts, fields({"images": f"{len(files)} in {output}", "next": teach}))


def list_(console: Console) -> None:
    """Show the classes, scenes and colours that the miniature knows.

    Examples:
        atomtune pocket list
    """
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
