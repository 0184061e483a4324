"""atomtune train --dry-run: what would be trained, of what size, in what time, and with how much memory."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..methods.base import LayerPlan
from ..models.base_model import POCKET, resolve
from ..runtime.units import counted, size
from ..training.estimate import STEPS, Estimate, estimate
from ..training.options import TrainOptions
from ..training.plan import plan
from .console import Console, duration, fields, table

_COLUMNS = ["layers", "conv", "conv_1x1", "linear", "rows", "parameters"]


def dry_run(console: Console, options: TrainOptions, *, measure: bool) -> None:
    """Show it, by group of layers. Unless asked to `measure`, no weights but those of `pocket` are loaded."""
    base, layers = resolve(options.model).name, plan(options)
    expected = estimate(options, layers, measure=measure or base == POCKET, events=console.events)
    groups = {group: _counts([one for one in layers if one.group == group]) for group in _names(layers)}
    total = _counts(layers)
    seconds = None if expected.step_seconds is None else options.steps * expected.step_seconds
    data = {
        "trainable_parameters": total["parameters"],
        **total,
        "groups": [{"group": group, **counts} for group, counts in groups.items()],
        "method": options.method,
        "preset": options.preset,
        "spec": asdict(options.spec),
        "base": base,
        "steps": options.steps,
        "seconds": seconds,
        **asdict(expected),
    }
    rows = [
        [group, *(f"{counts[column]:,}" for column in _COLUMNS)]
        for group, counts in (groups | {"total": total}).items()
    ]
    header = ["group", *(column.replace("_", " ") for column in _COLUMNS)]
    heading = f"{options.preset} on {base} would train {counted(total['parameters'], 'parameter')}"
    takes = {"file": _files(expected), "time": _time(expected, options.steps), "memory": _memory(expected)}
    console.result(data, f"{heading}\n\n{table(header, rows)}\n\n{fields(takes)}")


def _names(layers: Sequence[LayerPlan]) -> list[str]:
    return list(dict.fromkeys(layer.group for layer in layers))


def _counts(layers: Sequence[LayerPlan]) -> dict[str, Any]:
    kinds = [layer.kind for layer in layers]
    return {
        "layers": len(layers),
        "conv": kinds.count("conv"),
        "conv_1x1": kinds.count("conv 1x1"),
        "linear": kinds.count("linear"),
        "rows": sum(layer.rows for layer in layers),
        "parameters": sum(layer.parameters for layer in layers),
    }


def _files(expected: Estimate) -> str:
    return f"about {size(expected.file_bytes)}; the folder of the run takes up to {size(expected.run_bytes)}"


def _time(expected: Estimate, steps: int) -> str:
    if expected.step_seconds is None:
        return "not known: --measure loads the model and takes a few steps"
    each = f"{expected.step_seconds:.2g} s" if expected.step_seconds < 10 else duration(expected.step_seconds)
    source = "by steps just taken" if expected.seconds_from == STEPS else "as a run like it took here"
    whole = duration(steps * expected.step_seconds)
    return f"about {whole} for {counted(steps, 'step')}, an estimate {source} ({each} each)"


def _memory(expected: Estimate) -> str:
    if expected.memory_bytes is None:
        return "not known: the system does not tell"
    if expected.memory_from == STEPS:
        return f"about {size(expected.memory_bytes)}, the most that was held in these steps"
    return f"more than {size(expected.memory_bytes)}, for weights and what is trained; --measure tells how much"
