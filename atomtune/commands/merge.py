"""atomtune merge: a model folder with concepts merged in."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..export.options import MergeOptions
from ..runtime.option import option
from ..runtime.units import size
from .console import Console, duration, fields
from .options.groups import OutputOptions, SourceOptions

if TYPE_CHECKING:
    from ..export.merged_model import MergeResult


@dataclass(frozen=True, kw_only=True)
class MergeOutput(OutputOptions):
    """Where the model goes."""

    output: Path = option(..., "Folder for the model.", metavar="DIR", aliases=("save_to",))


def merge(console: Console, source: SourceOptions, options: MergeOptions, place: MergeOutput) -> None:
    """Write the base model with concepts merged in, as a diffusers folder.

    Other programs load it without atomtune; atomtune takes it as a --model. The concept's words are plain words there:
    "choa castle", not <castle>. The base model's licence holds for the result too.

    Examples:
        atomtune merge --concept castle --output castle-model
        atomtune merge --atoms castle.safetensors:0.8 --atoms rex.safetensors --output both --precision fp16
    """
    from ..export.merged_model import merge_to_folder

    result = merge_to_folder(
        source.files(),
        place.output,
        model=options.model,
        precision=options.precision,
        overwrite=place.overwrite,
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
