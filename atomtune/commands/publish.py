"""atomtune publish: a concept for others, in a folder or on the Hugging Face hub."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from ..errors import UsageError
from ..publish.options import PublishOptions
from ..runtime.option import option
from ..runtime.options import Options
from ..runtime.units import size
from ..sampling.options import PROMPTS, RUNS, trained_concepts
from .console import Console, fields
from .options.groups import OutputOptions, SourceOptions


@dataclass(frozen=True, kw_only=True)
class PublishedConcept(Options, panel=PROMPTS):
    """Which run is published."""

    concept: str = option(..., "Concept of runs/NAME.", metavar="NAME", word="first", completes=trained_concepts)
    step: int | None = option(
        None, "Use the atoms as they were after this step.", at_least=1, shown_default="the last", metavar="N"
    )


@dataclass(frozen=True, kw_only=True)
class PublishOutput(OutputOptions):
    """Where a folder goes, and whether to ask."""

    output: Path | None = option(
        None, "The folder.", shown_default="runs/NAME/published", metavar="DIR", aliases=("save_to",)
    )
    yes: bool = option(False, "Upload without asking.")


def publish(console: Console, source: PublishedConcept, options: PublishOptions, place: PublishOutput) -> None:
    """Publish a concept: model card, images, the atoms file and a LoRA, as a folder or on the Hugging Face hub.

    The files are listed before anything is uploaded. Others use what is on the hub as --atoms org/mug.

    Examples:
        atomtune publish --concept mug
        atomtune publish --concept mug --to hub --repository org/mug
    """
    from ..publish.publish import publish as write

    def confirm(where: str, files: Mapping[str, int]) -> bool:
        listed = "\n".join(f"  {name}  {size(length)}" for name, length in files.items())
        who = "private" if options.private else "public, if the repository is"
        typer.echo(f"To {where} ({who}):\n{listed}", err=True)
        if place.yes:
            return True
        if not sys.stdin.isatty():
            raise UsageError("nothing was uploaded, as nobody could be asked", "--yes uploads without asking")
        return typer.confirm("Upload?", err=True)

    ((file, _),) = SourceOptions(concepts=(source.concept,), step=source.step).files()
    output = place.output or RUNS / source.concept / "published"
    result = write(
        RUNS / source.concept,
        file,
        output,
        options,
        overwrite=place.overwrite,
        confirm=confirm,
        events=console.events,
    )
    if result is None:
        raise UsageError("nothing was uploaded", "answer y, or give --yes")
    console.result(
        asdict(result),
        fields(
            {
                "place": result.place,
                "files": ", ".join(f"{name} ({size(length)})" for name, length in result.files.items()),
                "licence": result.licence,
                "prompt": f'"{result.trigger}"',
            }
        ),
    )
