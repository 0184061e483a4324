"""The trade-off of a run over the scale of its concept: what is learned at each, and what is kept of the base model.

A method that learns less keeps more, so one point says little. Over the scale every run has a curve, from the base
model at 0 to beyond its result at 1, and the area under it says how much is kept at all degrees of learning.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from ..errors import AtomtuneError, Interrupted, UsageError, excerpt
from ..evaluation.checkpoint_selection import kept_share
from ..evaluation.encoders.base import Encoders
from ..evaluation.measure import Measures
from ..evaluation.scale_curve import measures_at
from ..files.atomic import write_text
from ..files.untrusted_json import read_json
from ..runtime.progress import Events
from ..runtime.units import counted
from .options import CompareOptions, Job
from .runs import CURVE, Trained
from .scoring import Score, score_key, stored_score

SCALES = (0.25, 0.5, 0.75, 1.25, 1.5)
"""Those of a curve from 0 to 1.5, but for 0 and 1, which are scored in any case."""

AREAS = ("area_alignment", "area_diversity", "area_drift")

_MOST = 4.0
_PARTS = 1000  # of fidelity's way, for the area


@dataclass(frozen=True)
class Point:
    """A scale, and what the run scores at it."""

    scale: float
    measures: Measures


def parse_scales(text: str) -> tuple[float, ...]:
    """Scales from a text with commas, in order; without 0 and 1. Raises UsageError for what is none."""
    found: set[float] = set()
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            scale = float(part)
        except ValueError:
            scale = math.nan
        if not 0.0 <= scale <= _MOST:
            raise UsageError(
                f"--scales takes numbers from 0 to {_MOST:g}, not {excerpt(repr(part))}",
                f"as in --scales {','.join(f'{one:g}' for one in SCALES)}; 0 and 1 are there in any case",
            )
        found.add(scale)
    return tuple(sorted(found - {0.0, 1.0}))


def curve_of(
    job: Job, done: Trained, options: CompareOptions, score: Score, encoders: Callable[[], Encoders], events: Events
) -> tuple[Point, ...]:
    """The points of a run at 0, 1 and the scales that are asked for, in order; none without any.

    What was measured before in the same way is read from the run's folder. Where a scale cannot be measured, as its
    images are not finite, that is a warning, and the curve is empty.
    """
    if not options.scales:
        return ()
    key = _key(job, done, options, score)
    known = _stored(job, key)
    missing = [scale for scale in options.scales if scale not in known]
    if missing:
        events.phase(f"scoring {job.title} at {counted(len(missing), 'more scale')}")
        asked = replace(options.scoring, run=job.folder, prompts=job.subject.prompts, checkpoints=False)
        try:
            known |= measures_at(asked, missing, encoders(), job.image_folder, events)
        except AtomtuneError as problem:
            if isinstance(problem, Interrupted):
                raise
            events.end()
            events.warn(f"{job.title} has no curve: {excerpt(problem.message, 300)}")
            return ()
        stored = {"key": key, "points": {f"{scale:g}": asdict(known[scale]) for scale in sorted(known)}}
        write_text(job.folder / CURVE, json.dumps(stored, indent=1) + "\n")
    known |= {0.0: score.base, 1.0: score.measures}
    return tuple(Point(scale, known[scale]) for scale in sorted({0.0, 1.0, *options.scales}))


def missing_scales(job: Job, done: Trained | None, options: CompareOptions) -> list[float]:
    """The scales that are asked for and at which a run, or one that is to be trained, was not measured yet."""
    score = None if done is None else stored_score(job, done, options)
    known = {} if done is None or score is None else _stored(job, _key(job, done, options, score))
    return [scale for scale in options.scales if scale not in known]


def _key(job: Job, done: Trained, options: CompareOptions, score: Score) -> dict[str, Any]:
    return score_key(job, done, options) | {"encoders": score.encoders}


def _stored(job: Job, key: dict[str, Any]) -> dict[float, Measures]:
    try:
        stored = read_json(job.folder / CURVE)
        if stored["key"] != key:
            return {}
        return {float(scale): Measures.from_dict(measures) for scale, measures in stored["points"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}  # not there, or of another version: it is measured anew


def areas(points: Sequence[Point], real: float | None) -> dict[str, float | None]:
    """The areas under a curve by the names of `AREAS`, each from 0 to 1; None where a measure is not known.

    Across lies the share of fidelity's way from the base model's to that of real images (1 where that is not known),
    upwards the share of the base model's alignment or diversity that is left, or 1 − drift. At each degree of
    learning counts the most that is kept at this degree or beyond; beyond what the run ever learns, nothing.
    """
    if not points:
        return {}
    base = points[0].measures
    shares: dict[str, Callable[[Measures], float | None]] = {
        "area_alignment": lambda found: kept_share(found.alignment, base.alignment),
        "area_diversity": lambda found: kept_share(found.diversity, base.diversity, nothing=1.0),
        "area_drift": lambda found: None if found.drift is None else 1.0 - found.drift,
    }
    learned = [_learned(point.measures.fidelity, base.fidelity, real) for point in points]
    return {name: _area(learned, [share(point.measures) for point in points]) for name, share in shares.items()}


def _learned(fidelity: float | None, base: float | None, real: float | None) -> float | None:
    if fidelity is None or base is None:
        return None
    return (fidelity - base) / max((1.0 if real is None else real) - base, 1e-6)


def _area(across: Sequence[float | None], upwards: Sequence[float | None]) -> float | None:
    pairs = zip(across, upwards, strict=True)
    points = [(x, min(1.0, max(0.0, y))) for x, y in pairs if x is not None and y is not None]
    if len(points) < len(across):
        return None
    total = 0.0
    for part in range(_PARTS):
        total += _best_beyond(points, (part + 0.5) / _PARTS)
    return total / _PARTS


def _best_beyond(points: Sequence[tuple[float, float]], x: float) -> float:
    """The greatest y of a line through the points, in their order, where it is not left of x; 0 where it never is."""
    best = max((high for across, high in points if across >= x), default=0.0)
    for (x0, y0), (x1, y1) in pairwise(points):
        if min(x0, x1) < x < max(x0, x1):
            best = max(best, y0 + (y1 - y0) * (x - x0) / (x1 - x0))
    return best
