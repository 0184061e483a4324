"""Small charts as SVG text, readable on light and dark, without scripts."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _EDGE = 420, 260, 52, 40, 18


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
    low_x, high_x = _range([point.x for point in points])
    low_y, high_y = _range([point.y for point in points] + [level for _, level in levels])

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (_WIDTH - _LEFT - _EDGE) * (x - low_x) / (high_x - low_x)
        up = _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _EDGE) * (y - low_y) / (high_y - low_y)
        return round(across, 1), round(up, 1)

    def path(chosen: Sequence[Point]) -> str:
        return " ".join(f"{x},{y}" for x, y in (place(point.x, point.y) for point in chosen))

    right, floor = _WIDTH - _EDGE, _HEIGHT - _BOTTOM
    parts = [
        f'<polyline points="{_LEFT},{_EDGE} {_LEFT},{floor} {right},{floor}" fill="none" stroke="#808080"/>',
        _text(_LEFT, floor + 15, f"{low_x:g}", "start"),
        _text(right, floor + 15, f"{high_x:g}", "end"),
        _text((_LEFT + right) / 2, floor + 31, x_title, "middle"),
        _text(_LEFT - 6, floor, f"{low_y:.3g}", "end"),
        _text(_LEFT - 6, _EDGE + 8, f"{high_y:.3g}", "end"),
        _text(_LEFT + 6, _EDGE - 5, y_title, "start"),
    ]
    for name, level in levels:
        y = place(low_x, level)[1]
        parts.append(f'<path d="M{_LEFT} {y}H{right}" stroke="#808080" stroke-dasharray="3 4"/>')
        parts.append(_text(right, y - 4, name, "end"))
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
            anchor = "end" if x > (_LEFT + right) / 2 else "start"
            parts.append(_text(x + (-9 if anchor == "end" else 9), y - 7, point.label, anchor, weight))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(y_title)} over {escape(x_title)}" font-family="sans-serif" font-size="11" fill="#808080">'
        + "".join(parts)
        + "</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str, extra: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{extra}>{escape(text)}</text>'


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Low and high end of an axis, with some air."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    air = 0.06 * (high - low) or max(abs(high), 1.0) * 0.05
    return low - air, high + air
