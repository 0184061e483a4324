"""atomtune export: concepts as a LoRA file for other programs."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import UsageError
from ..runtime.units import size
from .console import Console, duration, fields
from .drawing import AtomsFiles, Concepts, Scale, Step, TunedModel, sources
from .shared import MODEL, OUTPUT, Overwrite

if TYPE_CHECKING:
    from ..export.lora import ExportResult


def export(
    console: Console,
    concept: Concepts = None,
    atoms: AtomsFiles = None,
    step: Step = None,
    scale: Scale = 1.0,
    model: TunedModel = None,
    device: Annotated[
        str | None,
        typer.Option(
            help=r"Where the factors are computed: cpu, cuda, cuda:1, mps. \[default: cpu]",
            metavar="DEVICE",
            rich_help_panel=MODEL,
        ),
    ] = None,
    rank: Annotated[
        int,
        typer.Option(
            min=1, metavar="R", help="Of each layer; higher keeps more of the change.", rich_help_panel=OUTPUT
        ),
    ] = 32,
    format: Annotated[
        Literal["kohya", "diffusers"],
        typer.Option(help="kohya is read by ComfyUI and A1111.", rich_help_panel=OUTPUT),
    ] = "kohya",
    precision: Annotated[
        Literal["fp16", "fp32"],
        typer.Option(help="Type the factors are written in; fp16 is half the size.", rich_help_panel=OUTPUT),
    ] = "fp16",
    output: Annotated[
        Path | None,
        typer.Option(
            help=r"The file. \[default: runs/NAME/NAME-lora.safetensors]", metavar="FILE", rich_help_panel=OUTPUT
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write concepts as a LoRA file, for ComfyUI, A1111 and diffusers.

    A LoRA of this rank is an approximation of what atoms change; how much is lost is printed. The concept's words are
    plain words there: "sks castle", not <castle>.
    """
    from ..export.lora import export_lora

    result = export_lora(
        sources(concept, atoms, scale, step),
        output or _place(concept, atoms, step),
        rank=rank,
        format=format,
        model=model,
        precision=precision,
        device=device,
        overwrite=overwrite,
        events=console.events,
    )
    console.result(asdict(result), _text(result))


def _place(concept: list[str] | None, atoms: list[str] | None, step: int | None) -> Path:
    """The file of a single concept. Raises UsageError where there is not exactly one."""
    names = concept or []
    if not names and not atoms:
        raise UsageError("there is nothing to export", "give --concept NAME or --atoms FILE[:SCALE]")
    if atoms or len(names) != 1:
        raise UsageError("it is not clear where to", "--output names the file, as in --output mug-lora.safetensors")
    return Path("runs", names[0], f"{names[0]}{'' if step is None else f'-{step}'}-lora.safetensors")


def _text(result: "ExportResult") -> str:
    return fields(
        {
            "file": str(result.output),
            "size": f"{size(result.bytes)}, {result.precision}, {result.format}",
            "rank": f"{result.rank}, {result.layers} layers",
            "error": f"{result.relative_error:.1%} of the change, {result.worst_error:.1%} in {result.worst_layer}",
            "base": result.base,
            "concepts": ", ".join(f'"{item.trigger}" at {item.scale:g}' for item in result.atoms),
            "time": duration(result.seconds),
        }
    )
