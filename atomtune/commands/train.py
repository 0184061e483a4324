"""atomtune train: teach a base model a concept."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from ..runtime.option import option
from ..runtime.units import counted, size
from ..sampling.options import RUNS
from ..training.options import TrainOptions
from .console import Console, duration, fields, table
from .options.groups import OutputOptions

if TYPE_CHECKING:
    from ..methods.base import LayerPlan
    from ..training.record import TrainResult


@dataclass(frozen=True, kw_only=True)
class TrainOutput(OutputOptions):
    """The folder of the run, and what to do with one that is there."""

    output: Path | None = option(
        None, "Folder of the run.", shown_default="runs/NAME", metavar="DIR", aliases=("output_dir",), essential=True
    )
    resume: bool = option(False, "Resume the run in the folder, with its own options.", essential=True)
    dry_run: bool = option(False, "Show what would be trained, and stop.", essential=True)


def train(console: Console, explicit: frozenset[tuple[str, ...]], options: TrainOptions, place: TrainOutput) -> None:
    """Teach the base model a concept from a few images.

    Writes the run's folder: NAME.safetensors (the result), run.json, log.jsonl, loss.svg and the state to resume from.

    Examples:
        atomtune train --concept castle
        atomtune train --concept rex --class-noun dog --preset c3 --steps 800 --sample-every 100
        atomtune train --concept rex --method lora --rank 4 --config run.toml
    """
    if place.dry_run:
        _plan(console, options)
        return
    from ..training.train import train as run

    name = options.concept.name
    result = run(
        options,
        place.output or RUNS / name,
        resume=place.resume,
        # the concept's name alone says which run is meant, not how it is to be changed
        explicit=frozenset(path[0] for path in explicit - {("concept", "name")}),
        overwrite=place.overwrite,
        events=console.events,
    )
    console.result(asdict(result), _text(result))
    files = f"--concept {name}" if place.output is None else f"--atoms {quote(str(result.atoms_file))}"
    console.info(f'Next: atomtune sample {files} --prompt "a <{name}> in the snow"')


def _text(result: "TrainResult") -> str:
    sitting = f" (from step {result.resumed_from})" if result.resumed_from else ""
    return fields(
        {
            "atoms file": str(result.atoms_file),
            "size": size(result.atoms_bytes),
            "parameters": f"{result.trainable_parameters:,}",
            "steps": f"{result.steps:,}{sitting} in {duration(result.seconds)}",
            "final loss": f"{result.final_loss:.4f}",
        }
    )


def _plan(console: Console, options: TrainOptions) -> None:
    """Show what would be trained, by group of layers."""
    from ..models.base_model import resolve
    from ..training.plan import plan as planned

    base, plan = resolve(options.model).name, planned(options)
    groups = [
        (group, [layer for layer in plan if layer.group == group])
        for group in dict.fromkeys(layer.group for layer in plan)
    ]
    total = _counts(plan)
    data = {
        "trainable_parameters": total["parameters"],
        **total,
        "groups": [{"group": group, **_counts(part)} for group, part in groups],
        "method": options.method,
        "preset": options.preset,
        "spec": asdict(options.spec),
        "base": base,
    }
    columns = ["layers", "conv", "conv_1x1", "linear", "rows", "parameters"]
    by_group = [(group, _counts(part)) for group, part in groups] + [("total", total)]
    rows = [[group, *(f"{counts[column]:,}" for column in columns)] for group, counts in by_group]
    header = ["group", *(column.replace("_", " ") for column in columns)]
    heading = f"{options.preset} on {base} would train {counted(total['parameters'], 'parameter')}"
    console.result(data, f"{heading}\n\n{table(header, rows)}")


def _counts(plan: "Sequence[LayerPlan]") -> dict[str, Any]:
    kinds = [layer.kind for layer in plan]
    return {
        "layers": len(plan),
        "conv": kinds.count("conv"),
        "conv_1x1": kinds.count("conv 1x1"),
        "linear": kinds.count("linear"),
        "rows": sum(layer.rows for layer in plan),
        "parameters": sum(layer.parameters for layer in plan),
    }
