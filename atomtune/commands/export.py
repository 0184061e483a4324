"""atomtune export: concepts in the forms that other programs load."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..export.options import TARGETS, ExportOptions
from ..runtime.option import option
from ..runtime.units import size
from ..sampling.options import RUNS
from .console import Console, duration, fields
from .options.groups import OutputOptions, SourceOptions

if TYPE_CHECKING:
    from ..export.result import ExportResult


@dataclass(frozen=True, kw_only=True)
class ExportOutput(OutputOptions):
    """Where the result goes."""

    output: Path | None = option(
        None,
        "The file; a folder for --to diffusers.",
        shown_default="runs/NAME/NAME-lora.safetensors, or as --to says",
        metavar="FILE",
        aliases=("save_to",),
    )


def export(console: Console, source: SourceOptions, options: ExportOptions, place: ExportOutput) -> None:
    """Write concepts in a form that ComfyUI, A1111, InvokeAI and diffusers load.

    lora: small and near, for all of them. lora-diffusers: the same in diffusers' own names. diff: every change whole,
    large and exact. checkpoint: the merged model as one file. diffusers: the merged model as a folder. embedding: of a
    concept whose token alone was trained.

    What was written is loaded again and compared with the merged weights; the error is printed. The concept's words are
    plain words there: "choa castle", not <castle>.

    Examples:
        atomtune export --concept castle
        atomtune export --concept castle --rank 16 --output castle.safetensors
        atomtune export --concept castle --to checkpoint
    """
    from ..export.export import export as write
    from ..export.result import WorseThanPromisedError

    output = place.output or _default_output(source, options.to)
    try:
        result = write(source.files(), output, options, overwrite=place.overwrite, events=console.events)
    except WorseThanPromisedError as problem:
        console.result(asdict(problem.result), _text(problem.result))
        raise
    console.result(asdict(result), _text(result))


def _default_output(source: SourceOptions, to: str) -> Path:
    """The place of a single concept. Raises UsageError where there is not exactly one."""
    if not source.concepts and not source.atoms:
        raise UsageError("there is nothing to export", "give --concept NAME or --atoms FILE[:SCALE]")
    if source.atoms or len(source.concepts) != 1:
        raise UsageError("it is not clear where to", "--output names the file, as in --output mug-lora.safetensors")
    (name,) = source.concepts
    return RUNS / name / f"{name}{'' if source.step is None else f'-{source.step}'}{TARGETS[to]}"


_SHARED = " a layer, shared out between them"


def _text(result: "ExportResult") -> str:
    shown = {
        "model" if result.to == "diffusers" else "file": str(result.output),
        "beside": ", ".join(path.name for path in result.beside),
        "size": f"{size(result.bytes)}, {result.precision}, {result.to}",
        "rank": "" if result.rank is None else f"{result.rank}{_SHARED if result.weighted_error is not None else ''}",
        "layers": f"{result.layers:,}",
        "error": f"{result.relative_error:.2%} of the change, {result.worst_error:.2%} in {result.worst_layer}",
        "energy": f"{result.energy_kept:.1%} of the change's",
        "weighted": "" if result.weighted_error is None else f"{result.weighted_error:.2%} of what the layers put out",
        "psnr": "" if result.psnr is None else f"{result.psnr:.1f} dB to the atoms' own images",
        "base": result.base,
        "concepts": ", ".join(f'"{item.trigger}" at {item.scale:g}' for item in result.atoms),
        "time": duration(result.seconds),
    }
    return fields({name: text for name, text in shown.items() if text})
