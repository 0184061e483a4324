"""What a run would come to, before it begins: parameters, size of its file, time by what earlier runs took."""

from dataclasses import dataclass

from ..files.untrusted_json import read_json
from ..models.architecture import native_resolution
from ..models.base_model import pick_device, pick_precision, resolve
from ..runtime.units import counted, size
from ..sampling.options import RUNS
from ..training.options import TrainOptions
from ..training.plan import file_bytes, plan
from .run_state import options_of_run


@dataclass(frozen=True)
class Estimate:
    """What a run would come to.

    Attributes:
        bytes: of the atoms file, about.
        seconds: of its steps; None where no run like it was measured here.
    """

    parameters: int
    bytes: int
    seconds: float | None

    @property
    def text(self) -> str:
        """In words."""
        parts = [counted(self.parameters, "parameter"), f"about {size(self.bytes)}"]
        if self.seconds is None:
            return ", ".join([*parts, "time unknown: no run like it was measured here"])
        return ", ".join([*parts, f"about {minutes(self.seconds)}, as runs like it took here"])


def estimate(options: TrainOptions) -> Estimate:
    """Estimate a run. Raises AtomtuneError where the model's configuration cannot be had."""
    layers = plan(options)
    parameters = sum(layer.parameters for layer in layers)
    return Estimate(parameters, file_bytes(layers), _measured(options, parameters))


def _measured(options: TrainOptions, parameters: int) -> float | None:
    """Seconds of the steps, by the newest finished run of the same model, size, batch and number of parameters."""
    from ..training.run_folder import RunFolder

    source = resolve(options.model)
    alike = {
        "model": source.name,
        "resolution": options.resolution or native_resolution(source),
        "batch_size": options.batch_size,
        "grad_accum": options.grad_accum,
        "method": options.method,
        "precision": pick_precision(options.precision, pick_device(options.device)),
        "device": options.device,
    }
    paths = sorted(RUNS.glob("*/run.json"), key=lambda path: -path.stat().st_mtime)
    for path in paths:
        known = options_of_run(RunFolder(path.parent))
        if any(known.get(name) != value for name, value in alike.items()):
            continue
        try:
            result = read_json(path)["result"]
            if result["trainable_parameters"] == parameters and result["steps"] > 0:
                return float(result["seconds"]) / int(result["steps"]) * options.steps
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return None


def minutes(seconds: float) -> str:
    """A time in words: 28 s, 3 min, 2 h 05 min."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    if whole < 5400:
        return f"{round(whole / 60)} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
