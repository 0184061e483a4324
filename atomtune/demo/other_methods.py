"""Other methods than atoms in the demo: the same images, steps and seeds, each at a rate of its own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..evaluation.evaluate import Evaluation
from ..methods import METHODS
from ..runtime.progress import Events
from ..training.options import TrainOptions
from ..training.record import TrainResult
from ..training.train import train

RATES = {"lora": 1e-3, "full": 3e-4}
"""The methods, and learning rates that suit `pocket` and the demo's few steps; full's own is for larger models."""


@dataclass(frozen=True)
class OtherMethod:
    """A method that was trained for comparison.

    Attributes:
        train: what the run came to; evaluation: its images and what they score.
    """

    name: str
    title: str
    lr: float
    train: TrainResult
    evaluation: Evaluation


def train_other_methods(
    options: TrainOptions, output: Path, evaluate: Callable[[Path], Evaluation], events: Events
) -> Iterator[OtherMethod]:
    """Train and score each method of `RATES` with the demo's options, in `output`/run-NAME."""
    for name, lr in RATES.items():
        method, run = METHODS[name], output / f"run-{name}"
        events.phase(f"training {name} for comparison")
        result = train(replace(options, method=name, spec=method.spec(), lr=lr), run, overwrite=True, events=events)
        yield OtherMethod(name, method.title, lr, result, evaluate(run))
