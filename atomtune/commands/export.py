"""atomtune export: concepts as a LoRA file for other programs."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..export.options import LoraOptions
from ..runtime.option import option
from ..runtime.units import size
from ..sampling.options import RUNS
from .console import Console, duration, fields
from .options.groups import OutputOptions, SourceOptions

if TYPE_CHECKING:
    from ..export.lora import ExportResult


@dataclass(frozen=True, kw_only=True)
class ExportOutput(OutputOptions):
    """Where the LoRA goes."""

    output: Path | None = option(
        None, "The file.", shown_default="runs/NAME/NAME-lora.safetensors", metavar="FILE", aliases=("save_to",)
    )


def export(console: Console, source: SourceOptions, options: LoraOptions, place: ExportOutput) -> None:
    """Write concepts as a LoRA file, for ComfyUI, A1111 and diffusers.

    A LoRA of this rank is an approximation of what atoms change; how much is lost is printed. The concept's words are
    plain words there: "sks castle", not <castle>.

    Examples:
        atomtune export --concept castle
        atomtune export --concept castle --rank 64 --format diffusers --output castle.safetensors
    """
    from ..export.lora import export_lora

    result = export_lora(
        source.files(),
        place.output or _default_output(source),
        rank=options.rank,
        format=options.format,
        model=options.model,
        precision=options.precision,
        device=options.device,
        overwrite=place.overwrite,
        events=console.events,
    )
    console.result(asdict(result), _text(result))


def _default_output(source: SourceOptions) -> Path:
    """The file of a single concept. Raises UsageError where there is not exactly one."""
    if not source.concepts and not source.atoms:
        raise UsageError("there is nothing to export", "give --concept NAME or --atoms FILE[:SCALE]")
    if source.atoms or len(source.concepts) != 1:
        raise UsageError("it is not clear where to", "--output names the file, as in --output mug-lora.safetensors")
    (name,) = source.concepts
    return RUNS / name / f"{name}{'' if source.step is None else f'-{source.step}'}-lora.safetensors"


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
