"""Small charts as SVG text, readable on light and dark, without scripts."""

from collections.abc import Sequence
from dataclasses import dataclass

from .axes import LEFT, Axes, axis_range, text_at


@dataclass(frozen=True)
class Point:
    """A mark on a chart; `strong` ones are filled and named in bold."""

    x: float
    y: float
    label: str = ""
    strong: bool = False


def line_chart(points: Sequence[Point], x_title: str, y_title: str, levels: Sequence[tuple[str, float]] = ()) -> str:
    """Points joined by a line in their order; `levels` are horizontal lines with names."""
    return _chart(points, x_title, y_title, levels, joined=True)


def scatter_chart(points: Sequence[Point], x_title: str, y_title: str, front: Sequence[int] = ()) -> str:
    """Points on their own; those with an index in `front` are joined by a dashed line, from left to right."""
    return _chart(points, x_title, y_title, (), joined=False, front=front)


def _chart(
    points: Sequence[Point],
    x_title: str,
    y_title: str,
    levels: Sequence[tuple[str, float]],
    joined: bool,
    front: Sequence[int] = (),
) -> str:
    axes = Axes(
        axis_range([point.x for point in points]),
        axis_range([point.y for point in points] + [level for _, level in levels]),
    )
    place, right = axes.place, axes.right

    def path(chosen: Sequence[Point]) -> str:
        return " ".join(f"{x},{y}" for x, y in (place(point.x, point.y) for point in chosen))

    parts = [axes.drawn(x_title, y_title)]
    for name, level in levels:
        y = place(axes.x[0], level)[1]
        parts.append(f'<path d="M{LEFT} {y}H{right}" stroke="#808080" stroke-dasharray="3 4"/>')
        parts.append(text_at(right, y - 4, name, "end"))
    if joined:
        parts.append(f'<polyline points="{path(points)}" fill="none" stroke="#3b78e7" stroke-width="2"/>')
    if front:
        ordered = sorted((points[i] for i in front), key=lambda point: point.x)
        parts.append(f'<polyline points="{path(ordered)}" fill="none" stroke="#3b78e7" stroke-dasharray="5 4"/>')
    for point in points:
        x, y = place(point.x, point.y)
        fill = "#3b78e7" if point.strong else "#9bb8f0"
        parts.append(f'<circle cx="{x}" cy="{y}" r="{6 if point.strong else 4}" fill="{fill}"/>')
        if point.label:
            weight = ' font-weight="bold"' if point.strong else ""
            anchor = "end" if x > (LEFT + right) / 2 else "start"
            parts.append(text_at(x + (-9 if anchor == "end" else 9), y - 7, point.label, anchor, weight))
    return axes.framed("".join(parts), x_title, y_title)
