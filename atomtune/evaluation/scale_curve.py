"""What a concept scores at one scale after the other: how much is learned, and what that costs."""

from collections.abc import Sequence
from pathlib import Path

from ..runtime.progress import Events
from ..training.run_lock import run_lock
from .encoders.base import Encoders
from .evaluate import scored
from .image_sets import EvaluationImages
from .inputs import read_inputs
from .measure import Measures
from .options import EvaluateOptions


def measures_at(
    options: EvaluateOptions, scales: Sequence[float], encoders: Encoders, output: Path, events: Events | None = None
) -> dict[float, Measures]:
    """The measures of a run's result at each of these scales, by scale.

    Args:
        options: as for `evaluate_concept`; their own scale and checkpoints do not count.
        output: images are kept in its folder `images`, as `evaluate_concept` keeps them, so that it finds them too.

    Raises:
        UsageError: no such run, or no prompts.
        AtomtuneError: a file, the model or the concept's images cannot be read, images are not finite, or another
            process works in `output`.
    """
    events = events or Events()
    inputs = read_inputs(options)
    images = EvaluationImages(inputs, options, output / "images", events)
    with run_lock(output, "evaluate"):
        plain, tuned = images.generate_at(scales)
    events.phase("scoring")
    _, *found = scored(encoders, inputs, plain, tuned)
    return {scale: one.measures for scale, one in zip(scales, found, strict=True)}
