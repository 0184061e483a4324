"""What a run would take, before it begins: size of its files, time and memory (`train --dry-run`)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from ..files.untrusted_json import read_json
from ..methods.base import LayerPlan
from ..models.architecture import native_resolution, unet_on_meta
from ..models.base_model import pick_device, pick_precision, resolve
from ..runtime.progress import Events
from ..sampling.options import RUNS
from .options import TrainOptions
from .plan import file_bytes
from .resources import run_bytes
from .run_folder import RunFolder

STEPS, RUN, WEIGHTS = "steps", "run", "weights"
"""Where a figure comes from: steps taken for it; a run like it that is finished; the sizes of weights alone."""

_STATE = {"adamw": 2.0, "adamw8bit": 0.5, "prodigy": 4.0}  # float32 numbers for each that is trained


@dataclass(frozen=True)
class Estimate:
    """What a run would take.

    Attributes:
        file_bytes: of the result; run_bytes: of the run's folder at most, without images.
        step_seconds: of one step, from STEPS or RUN; None where nothing is known.
        memory_bytes: the most that the process or, on a GPU, its tensors held in STEPS; from WEIGHTS what is needed at
            least. None where the system does not tell.
    """

    file_bytes: int
    run_bytes: int
    step_seconds: float | None
    seconds_from: str | None
    memory_bytes: int | None
    memory_from: str


def estimate(
    options: TrainOptions, layers: Sequence[LayerPlan], *, measure: bool = False, events: Events | None = None
) -> Estimate:
    """Estimate a run.

    Args:
        layers: what is trained, see `plan`.
        measure: load the model and take some steps, see `measured_step`.

    Raises AtomtuneError where the model's configuration cannot be had, and as `measured_step`.
    """
    source = replace(resolve(options.model), vae=options.vae)
    options = replace(
        options,
        model=source.name,
        resolution=options.resolution or native_resolution(source),
        precision=pick_precision(options.precision, pick_device(options.device)),
    )
    parameters = sum(layer.parameters for layer in layers)
    checkpoints = options.steps // options.checkpoint_every
    disk = file_bytes(layers), run_bytes(parameters, checkpoints, options.optimizer, options.ema)
    if measure:
        from .measure import measured_step

        seconds, memory = measured_step(options, source, events or Events())
        return Estimate(*disk, seconds, STEPS, memory, STEPS)
    found = _of_finished_run(options, parameters)
    least = _least_memory(options, unet_on_meta(source), parameters)
    return Estimate(*disk, found, None if found is None else RUN, least, WEIGHTS)


def _least_memory(options: TrainOptions, unet: nn.Module, parameters: int) -> int:
    """Bytes of the UNet's weights, and of gradients and the optimizer's state; activations come on top."""
    is_half = options.low_memory or (options.precision != "fp32" and pick_device(options.device).type == "cuda")
    weights = sum(parameter.numel() for parameter in unet.parameters()) * (2 if is_half else 4)
    return weights + int(4 * parameters * (1 + _STATE.get(options.optimizer, 0.0) + options.ema))


def _of_finished_run(options: TrainOptions, parameters: int) -> float | None:
    """Seconds of a step, by the newest finished run of the same model, size, batch and number of parameters."""
    names = (
        *("model", "resolution", "device", "precision", "method", "preserve"),
        *("batch_size", "grad_accum", "gradient_checkpointing", "low_memory"),
    )
    alike = {name: getattr(options, name) for name in names}
    paths = sorted(RUNS.glob("*/run.json"), key=lambda path: -path.stat().st_mtime)
    for path in paths:
        known = options_of_run(RunFolder(path.parent))
        if any(known.get(name) != value for name, value in alike.items()):
            continue
        try:
            result = read_json(path)["result"]
            if result["trainable_parameters"] == parameters and result["steps"] > 0:
                return float(result["seconds"]) / int(result["steps"])
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return None


def options_of_run(folder: RunFolder) -> dict[str, Any]:
    """The options in a run.json, without their groups; empty where it is not there or damaged."""
    try:
        grouped = read_json(folder.record)["options"]
        flat: dict[str, Any] = {}
        for key, value in grouped.items():
            flat |= value if isinstance(value, dict) and key not in ("concept", "spec") else {key: value}
        return flat
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
