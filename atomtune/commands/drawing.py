"""Options of the verbs that draw with what was learned."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import UsageError
from .shared import atoms_source, learned_concepts

CONCEPT, IMAGES = "Concepts and prompts", "Images"

Concepts = Annotated[
    list[str] | None,
    typer.Option(
        help="Take the concept of runs/NAME; several add up.",
        metavar="NAME",
        autocompletion=learned_concepts,
        rich_help_panel=CONCEPT,
    ),
]
AtomsFiles = Annotated[
    list[str] | None,
    typer.Option(
        help="Take an atoms file, at this strength; several add up.",
        metavar="FILE[:SCALE]",
        rich_help_panel=CONCEPT,
    ),
]
Step = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Take the concepts as they were after this step.", rich_help_panel=CONCEPT),
]
Scale = Annotated[
    float, typer.Option(metavar="X", help="Strength of all concepts, on top of their own.", rich_help_panel=CONCEPT)
]
TunedModel = Annotated[
    str | None,
    typer.Option(
        help=r"Base model, as for train. \[default: the one the atoms were trained on]",
        metavar="MODEL",
        rich_help_panel="Model",
    ),
]
FirstSeed = Annotated[
    int,
    typer.Option(min=0, metavar="N", help="Of the first image; the next has the next.", rich_help_panel=IMAGES),
]
Steps = Annotated[int, typer.Option(min=1, metavar="N", help="Denoising steps.", rich_help_panel=IMAGES)]
GuidanceScale = Annotated[
    float, typer.Option(min=0.0, metavar="X", help="How closely to follow the prompt.", rich_help_panel=IMAGES)
]
Scheduler = Annotated[
    Literal["ddim", "ddpm", "pndm", "euler", "euler-a", "heun", "dpm++", "unipc"] | None,
    typer.Option(help=r"Noise schedule's solver. \[default: the model's]", rich_help_panel=IMAGES),
]
BatchSize = Annotated[
    int,
    typer.Option(min=1, metavar="N", help="Images drawn at once; changes no image.", rich_help_panel=IMAGES),
]


def sources(
    concepts: list[str] | None, atoms: list[str] | None, scale: float, step: int | None = None
) -> list[tuple[Path, float]]:
    """Atoms files with their strengths: those of runs below runs/, as they were after a step, then those named.

    Raises UsageError where a step's atoms were not kept, or a step is named without a concept.
    """
    from ..training.run_folder import RunFolder

    if step is not None and not concepts:
        raise UsageError("--step needs --concept", "--atoms names the file of a step itself")
    found = [(RunFolder(Path("runs") / name).atoms_at(step), 1.0) for name in concepts or ()]
    found += [atoms_source(text) for text in atoms or ()]
    return [(file, strength * scale) for file, strength in found]
