"""One prompt over steps and scales, on one sheet: how a concept arrives, and how far its scale can go."""

from collections.abc import Sequence
from typing import Any

from PIL import Image

from ..data.concept import expand
from ..data.contact_sheet import contact_sheet
from ..runtime.progress import Events
from ..sampling.apply import applied_at
from ..sampling.changes import LoadedAtoms
from ..sampling.generate import generate_images
from ..sampling.options import Settings


def scale_grid(
    pipeline: Any,
    steps: Sequence[tuple[int, LoadedAtoms]],
    scales: Sequence[float],
    prompt: str,
    seed: int,
    settings: Settings,
    events: Events | None = None,
) -> Image.Image:
    """A sheet with a row for each step and a column for each scale, all from one loaded pipeline.

    Args:
        steps: atoms by step, of one concept; their own scales do not count.
        prompt: `<name>` or `{}` stands for the concept.
    """
    events = events or Events()
    concept = steps[0][1].concept
    wanted = [(expand(prompt, [concept]), seed)]
    events.begin("evaluate", len(steps) * len(scales))
    rows = []
    for _, atoms in steps:
        row: list[Image.Image] = []
        with applied_at(pipeline, atoms, events) as at:
            for scale in scales:
                with at(scale):
                    row += generate_images(pipeline, wanted, settings, 1)
                events.advance()
        rows.append(row)
    events.end()
    return contact_sheet(rows, [f"step {step}" for step, _ in steps], [f"scale {scale:g}" for scale in scales])
