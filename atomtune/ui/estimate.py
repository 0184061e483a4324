"""What a run would come to, before it begins, in words for the page."""

from dataclasses import dataclass

from ..runtime.units import counted, size
from ..training import estimate as of_training
from ..training.options import TrainOptions
from ..training.plan import plan


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
    found = of_training.estimate(options, layers)
    seconds = None if found.step_seconds is None else found.step_seconds * options.steps
    return Estimate(sum(layer.parameters for layer in layers), found.file_bytes, seconds)


def minutes(seconds: float) -> str:
    """A time in words: 28 s, 3 min, 2 h 05 min."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    if whole < 5400:
        return f"{round(whole / 60)} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
