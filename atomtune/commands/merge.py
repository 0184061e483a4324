"""atomtune merge: a model folder with concepts merged in."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .console import Console, duration, fields, size
from .shared import OUTPUT, Overwrite, atoms_source, learned_concepts

if TYPE_CHECKING:
    from ..diffusion.sampling.merging import MergeResult

CONCEPT = "Concepts"


def merge(
    console: Console,
    output: Annotated[
        Path, typer.Option(help="Folder for the model.", metavar="DIR", show_default=False, rich_help_panel=OUTPUT)
    ],
    concept: Annotated[
        list[str] | None,
        typer.Option(
            help="Merge the concept of runs/NAME; several add up.",
            metavar="NAME",
            autocompletion=learned_concepts,
            rich_help_panel=CONCEPT,
        ),
    ] = None,
    atoms: Annotated[
        list[str] | None,
        typer.Option(
            help="Merge an atoms file, at this strength; several add up.",
            metavar="FILE[:SCALE]",
            rich_help_panel=CONCEPT,
        ),
    ] = None,
    scale: Annotated[
        float, typer.Option(metavar="X", help="Strength of all concepts, on top of their own.", rich_help_panel=CONCEPT)
    ] = 1.0,
    model: Annotated[
        str | None,
        typer.Option(
            help=r"Base model, as for train. \[default: the one the atoms were trained on]",
            metavar="MODEL",
            rich_help_panel="Model",
        ),
    ] = None,
    precision: Annotated[
        Literal["fp32", "fp16"],
        typer.Option(help="Type the weights are written in; fp16 is half the size.", rich_help_panel=OUTPUT),
    ] = "fp32",
    overwrite: Overwrite = False,
) -> None:
    """Write the base model with concepts merged in, as a diffusers folder.

    Other programs load it without atomtune; atomtune takes it as a --model. The concept's words are plain words there:
    "sks castle", not <castle>. The base model's licence holds for the result too.
    """
    from ..diffusion.sampling.merging import merge_to_folder

    sources = [(Path("runs") / name / "atoms.safetensors", 1.0) for name in concept or ()]
    sources += [atoms_source(text) for text in atoms or ()]
    result = merge_to_folder(
        [(file, strength * scale) for file, strength in sources],
        output,
        model=model,
        precision=precision,
        overwrite=overwrite,
        events=console.events,
    )
    console.result(asdict(result), _text(result))


def _text(result: "MergeResult") -> str:
    return fields(
        {
            "model": str(result.output),
            "size": f"{size(result.bytes)}, {result.precision}",
            "base": result.base,
            "concepts": ", ".join(f'"{item.trigger}" at {item.scale:g}' for item in result.atoms),
            "time": duration(result.seconds),
        }
    )
