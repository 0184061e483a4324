"""Curves over the scale, for the page and the JSON of a comparison."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from ..report.charts import Curve, curve_chart
from .table import Line, Reference, Run

_MEASURES = ("alignment", "diversity", "drift")


def curve_rows(run: Run) -> list[dict[str, Any]]:
    """The points of a run's curve as objects of the JSON."""
    return [{"scale": point.scale, **point.measures.as_dict()} for point in run.curve]


def curve_charts(runs: Sequence[Run], table: Sequence[Line], against: Reference, colors: dict[str, str]) -> list[str]:
    """Fidelity against what is to be kept, over the scale: a curve for each variant, the mean of its runs.

    Empty where no variant has a curve of every run.
    """
    marks = [("real images", against.real.mean)] if against.real is not None else []
    charts = []
    for name in _MEASURES:
        found = [_curve(line, [run for run in runs if run.variant == line.variant], name, colors) for line in table]
        if curves := [curve for curve in found if curve is not None]:
            charts.append(curve_chart(curves, "fidelity", name, marks))
    return charts


def _curve(line: Line, runs: Sequence[Run], name: str, colors: dict[str, str]) -> Curve | None:
    if not all(run.curve for run in runs):
        return None
    points = []
    for each in zip(*(run.curve for run in runs), strict=True):
        xs = [point.measures.fidelity for point in each]
        ys = [getattr(point.measures, name) for point in each]
        if None in xs or None in ys:
            return None
        scale = each[0].scale
        points.append((fmean(xs), fmean(ys), f"{line.variant.name} at {scale:g}", scale == 1.0))
    return Curve(line.variant.name, colors[line.variant.name], points)
