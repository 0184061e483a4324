"""One prompt over steps and strengths, on one sheet: how a concept arrives, and how far it can be turned up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ..data.concept import expand
from ..data.contact_sheet import contact_sheet
from ..runtime.progress import Events
from ..sampling.apply import LoadedAtoms, wearing_at
from ..sampling.generate import Settings
from ..sampling.sample import draw


@dataclass(frozen=True)
class _Job:
    prompt: str
    seed: int


def strip(
    pipeline: Any,
    steps: Sequence[tuple[int, LoadedAtoms]],
    scales: Sequence[float],
    prompt: str,
    seed: int,
    settings: Settings,
    events: Events | None = None,
) -> Image.Image:
    """A sheet with a row for each step and a column for each strength, all from one loaded pipeline.

    Args:
        steps: atoms by step, of one concept; their own strengths do not count.
        prompt: `<name>` or `{}` stands for the concept.
    """
    events = events or Events()
    concept = steps[0][1].concept
    job = _Job(expand(prompt.replace("{}", concept.words), [concept]), seed)
    events.begin("evaluate", len(steps) * len(scales))
    rows = []
    for _, atoms in steps:
        row = []
        with wearing_at(pipeline, atoms, events) as at:
            for scale in scales:
                with at(scale):
                    row += draw(pipeline, [job], settings, 1, events.advance)
        rows.append(row)
    events.end()
    return contact_sheet(rows, [f"step {step}" for step, _ in steps], [f"strength {scale:g}" for scale in scales])
