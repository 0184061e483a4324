"""atomtune merge: a model folder with concepts merged in."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..runtime.units import size
from .console import Console, duration, fields
from .drawing import AtomsFiles, Concepts, Scale, TunedModel, sources
from .shared import OUTPUT, Overwrite

if TYPE_CHECKING:
    from ..export.merged_model import MergeResult


def merge(
    console: Console,
    output: Annotated[
        Path, typer.Option(help="Folder for the model.", metavar="DIR", show_default=False, rich_help_panel=OUTPUT)
    ],
    concept: Concepts = None,
    atoms: AtomsFiles = None,
    scale: Scale = 1.0,
    model: TunedModel = None,
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
    from ..export.merged_model import merge_to_folder

    result = merge_to_folder(
        sources(concept, atoms, scale),
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
