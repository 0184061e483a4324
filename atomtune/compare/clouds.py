"""A chart of clouds of points, as SVG text: the runs of each variant, and their mean, which is named."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ..evaluate.axes import EDGE, LEFT, WIDTH, Axes, axis_range, text_at

_HIGH = 340
_LETTER = 5.8  # pixels of width, of a sans serif of 11 pixels, about


@dataclass(frozen=True)
class Cloud:
    """Points that belong together, of one colour, and the mark in their middle, which is named.

    Attributes:
        points: (x, y, what a pointer that rests on it is told).
        color: in CSS.
        hollow: a square without points, for what the others are seen against.
    """

    label: str
    middle: tuple[float, float]
    points: Sequence[tuple[float, float, str]] = ()
    color: str = "#808080"
    hollow: bool = False


def cloud_chart(clouds: Sequence[Cloud], x_title: str, y_title: str, marks: Sequence[tuple[str, float]] = ()) -> str:
    """Clouds of points; `marks` are vertical lines with names."""
    everywhere = [cloud.middle for cloud in clouds] + [(x, y) for cloud in clouds for x, y, _ in cloud.points]
    xs, ys = [x for x, _ in everywhere], [y for _, y in everywhere]
    axes = Axes(axis_range([*xs, *(x for _, x in marks)]), axis_range(ys), _HIGH, "{:.3g}")
    parts = [axes.drawn(x_title, y_title)]
    taken = [_box(LEFT + 6, EDGE - 5, y_title, "start")]
    for name, x in marks:
        across = axes.place(x, axes.y[0])[0]
        parts.append(f'<path d="M{across} {EDGE}V{axes.floor}" stroke="#808080" stroke-dasharray="3 4"/>')
        taken.append(_box(across, EDGE + 8, name, "end" if across > WIDTH / 2 else "start"))
        parts.append(_label(taken[-1], name, ""))
    for cloud in clouds:
        for x, y, told in cloud.points:
            across, up = axes.place(x, y)
            title = f"<title>{escape(told)}</title>"
            parts.append(f'<circle cx="{across}" cy="{up}" r="3" fill="{cloud.color}" opacity="0.45">{title}</circle>')
    middles = [axes.place(*cloud.middle) for cloud in clouds]
    taken += [_Box(x - 7, y - 7, 14, 14) for x, y in middles]
    for cloud, (x, y) in zip(clouds, middles, strict=True):
        if cloud.hollow:
            parts.append(f'<path d="M{x - 5} {y - 5}h10v10h-10z" fill="none" stroke="{cloud.color}" stroke-width="2"/>')
        else:
            parts.append(f'<circle cx="{x}" cy="{y}" r="6" fill="{cloud.color}" stroke="#80808080"/>')
    for cloud, (x, y) in zip(clouds, middles, strict=True):
        taken.append(_free_place(x, y, cloud.label, taken, axes))
        parts.append(_label(taken[-1], cloud.label, f' fill="{cloud.color}"'))
    return axes.framed("".join(parts), x_title, y_title)


@dataclass(frozen=True)
class _Box:
    """Where a label is: its left upper corner and its size."""

    x: float
    y: float
    width: float
    height: float

    def covers(self, other: "_Box") -> float:
        """The area that both take."""
        across = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        down = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        return max(0.0, across) * max(0.0, down)


def _box(x: float, y: float, text: str, anchor: str) -> _Box:
    width = _LETTER * len(text) + 2
    left = {"start": x, "end": x - width, "middle": x - width / 2}[anchor]
    return _Box(left, y - 9, width, 12)


def _label(box: _Box, text: str, extra: str) -> str:
    return text_at(box.x + 1, box.y + 9, text, "start", extra)


def _free_place(x: float, y: float, text: str, taken: Sequence[_Box], axes: "Axes") -> _Box:
    """The place around a mark where a label covers least of what is there; of equals, the nearest."""
    around = [
        _box(x + side * 9, y + 4 + shift, text, "start" if side > 0 else "end")
        for shift in (0, -10, 10, -20, 20, -32, 32, -44, 44)
        for side in (1, -1)
    ]

    def cost(box: _Box) -> float:
        outside = box.width * box.height - box.covers(_Box(LEFT, 4, axes.right + EDGE - LEFT, axes.floor - 4))
        return sum(box.covers(other) for other in taken) + 2 * outside

    return min(around, key=cost)
