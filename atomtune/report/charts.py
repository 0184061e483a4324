"""SVG charts: lines, scatters, clouds of points with names, and the loss curve."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

# pixels: of a chart, the margins around its frame, and of charts with names in them
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _EDGE = 420, 260, 52, 40, 18
_TALL = 340
_LETTER = 5.8  # width of a letter in a sans serif of 11 pixels, about


@dataclass(frozen=True)
class _Axes:
    """A frame with its two axes.

    Attributes:
        x, y: the round numbers at which they are marked; they reach from the first to the last.
        height: of the image.
    """

    x: Sequence[float]
    y: Sequence[float]
    height: int = _HEIGHT

    @property
    def right(self) -> int:
        """Where the frame ends."""
        return _WIDTH - _EDGE

    @property
    def floor(self) -> int:
        """Where it stands."""
        return self.height - _BOTTOM

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies in the image."""
        across = _LEFT + (self.right - _LEFT) * (x - self.x[0]) / (self.x[-1] - self.x[0])
        up = self.floor - (self.floor - _EDGE) * (y - self.y[0]) / (self.y[-1] - self.y[0])
        return round(across, 1), round(up, 1)

    def frame(self, x_title: str, y_title: str) -> str:
        """Lines, round numbers and titles."""
        right, floor = self.right, self.floor
        return "".join(
            [
                f'<polyline points="{_LEFT},{_EDGE} {_LEFT},{floor} {right},{floor}" fill="none" stroke="#808080"/>',
                *(_text_at(self.place(x, self.y[0])[0], floor + 15, f"{x:g}", "middle") for x in self.x),
                _text_at((_LEFT + right) / 2, floor + 31, x_title, "middle"),
                *(_text_at(_LEFT - 6, self.place(self.x[0], y)[1] + 4, f"{y:g}", "end") for y in self.y),
                _text_at(_LEFT + 6, _EDGE - 5, y_title, "start"),
            ]
        )

    def framed(self, content: str, x_title: str, y_title: str) -> str:
        """The whole image."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {self.height}" role="img" '
            f'aria-label="{escape(y_title)} over {escape(x_title)}" '
            f'font-family="sans-serif" font-size="11" fill="#808080">{content}</svg>'
        )


def _text_at(x: float, y: float, text: str, anchor: str, extra: str = "") -> str:
    """A text of a chart; `anchor` is start, middle or end."""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{extra}>{escape(text)}</text>'


def round_numbers(values: Sequence[float], most: int = 6) -> list[float]:
    """At least two and at most `most` round numbers, evenly apart, between which all values lie.

    They begin below zero only where a value does. Values that are not finite are left out.
    """
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-6):
        high = low + (abs(low) or 1.0) * 0.1
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (factor * power for factor in (1, 2, 2.5, 5, 10, 20, 25, 50)):
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first < most:
            break
    return [float(f"{number * step:.10g}") for number in range(first, max(last, first + 1) + 1)]


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
    axes = _Axes(
        round_numbers([point.x for point in points]),
        round_numbers([point.y for point in points] + [level for _, level in levels]),
    )
    place, right = axes.place, axes.right

    def path(chosen: Sequence[Point]) -> str:
        return " ".join(f"{x},{y}" for x, y in (place(point.x, point.y) for point in chosen))

    parts = [axes.frame(x_title, y_title)]
    marks = [place(point.x, point.y) for point in points]
    taken = [_box(_LEFT + 6, _EDGE - 5, y_title, "start"), *(_Box(x - 6, y - 6, 12, 12) for x, y in marks)]
    for name, level in levels:
        y = place(axes.x[0], level)[1]
        parts.append(f'<path d="M{_LEFT} {y}H{right}" stroke="#808080" stroke-dasharray="3 4"/>')
        sides = [_box(right, y - 4, name, "end"), _box(right, y + 12, name, "end")]
        taken.append(min(sides, key=lambda side: sum(side.covers(other) for other in taken)))
        parts.append(_label(taken[-1], name, ""))
    if joined:
        parts.append(f'<polyline points="{path(points)}" fill="none" stroke="#3b78e7" stroke-width="2"/>')
    if front:
        ordered = sorted((points[i] for i in front), key=lambda point: point.x)
        parts.append(f'<polyline points="{path(ordered)}" fill="none" stroke="#3b78e7" stroke-dasharray="5 4"/>')
    for point, (x, y) in zip(points, marks, strict=True):
        fill = "#3b78e7" if point.strong else "#9bb8f0"
        parts.append(f'<circle cx="{x}" cy="{y}" r="{6 if point.strong else 4}" fill="{fill}"/>')
        if point.label:
            weight = ' font-weight="bold"' if point.strong else ""
            taken.append(_free_place(x, y, point.label, taken, axes))
            parts.append(_label(taken[-1], point.label, weight))
    return axes.framed("".join(parts), x_title, y_title)


@dataclass(frozen=True)
class Cloud:
    """Points that belong together, of one colour, and the mark in their middle, which is named.

    Attributes:
        points: (x, y, the text that a pointer resting on it shows).
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
    axes = _Axes(round_numbers([*xs, *(x for _, x in marks)]), round_numbers(ys), _TALL)
    parts = [axes.frame(x_title, y_title)]
    taken = [_box(_LEFT + 6, _EDGE - 5, y_title, "start")]
    for name, x in marks:
        across = axes.place(x, axes.y[0])[0]
        parts.append(f'<path d="M{across} {_EDGE}V{axes.floor}" stroke="#808080" stroke-dasharray="3 4"/>')
        taken.append(_box(across, _EDGE + 8, name, "end" if across > _WIDTH / 2 else "start"))
        parts.append(_label(taken[-1], name, ""))
    for cloud in clouds:
        for x, y, text in cloud.points:
            across, up = axes.place(x, y)
            title = f"<title>{escape(text)}</title>"
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
class Curve:
    """Points joined in their order.

    Attributes:
        points: (x, y, the text that a pointer resting on it shows, whether it is a large one).
    """

    label: str
    color: str
    points: Sequence[tuple[float, float, str, bool]]


def curve_chart(curves: Sequence[Curve], x_title: str, y_title: str, marks: Sequence[tuple[str, float]] = ()) -> str:
    """Curves with their names at the large point; `marks` are vertical lines with names."""
    everywhere = [point for curve in curves for point in curve.points]
    xs, ys = [point[0] for point in everywhere], [point[1] for point in everywhere]
    axes = _Axes(round_numbers([*xs, *(x for _, x in marks)]), round_numbers(ys), _TALL)
    lines, dots, names = [], [], []
    taken = [_box(_LEFT + 6, _EDGE - 5, y_title, "start")]
    for name, x in marks:
        across = axes.place(x, axes.y[0])[0]
        lines.append(f'<path d="M{across} {_EDGE}V{axes.floor}" stroke="#808080" stroke-dasharray="3 4"/>')
        taken.append(_box(across, _EDGE + 8, name, "end" if across > _WIDTH / 2 else "start"))
        names.append(_label(taken[-1], name, ""))
    for curve in curves:
        places = [(*axes.place(x, y), text, large) for x, y, text, large in curve.points]
        path = " ".join(f"{x},{y}" for x, y, *_ in places)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{curve.color}" stroke-width="1.5"/>')
        for x, y, text, large in places:
            title = f"<title>{escape(text)}</title>"
            dots.append(f'<circle cx="{x}" cy="{y}" r="{5 if large else 2.5}" fill="{curve.color}">{title}</circle>')
            if large:
                taken.append(_free_place(x, y, curve.label, taken, axes))
                names.append(_label(taken[-1], curve.label, f' fill="{curve.color}"'))
    return axes.framed("".join([axes.frame(x_title, y_title), *lines, *dots, *names]), x_title, y_title)


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
    return _text_at(box.x + 1, box.y + 9, text, "start", extra)


def _free_place(x: float, y: float, text: str, taken: Sequence[_Box], axes: _Axes) -> _Box:
    """The place around a mark where a label covers least of what is there; of equals, the nearest."""
    around = [
        _box(x + side * 9, y + 4 + shift, text, "start" if side > 0 else "end")
        for shift in sorted(range(-84, 85, 12), key=abs)
        for side in (1, -1)
    ]

    def cost(box: _Box) -> float:
        outside = box.width * box.height - box.covers(_Box(_LEFT, 4, axes.right + _EDGE - _LEFT, axes.floor - 4))
        return sum(box.covers(other) for other in taken) + 2 * outside

    return min(around, key=cost)


def smoothed(values: Sequence[float], weight: float = 0.95) -> list[float]:
    """Exponential moving average, corrected for its start, so that it begins at the first value."""
    result, average = [], 0.0
    for i, value in enumerate(values, start=1):
        average = weight * average + (1.0 - weight) * value
        result.append(average / (1.0 - weight**i))
    return result


def loss_curve(losses: Sequence[float], held_out: Sequence[tuple[int, float]] = ()) -> str:
    """An SVG of the loss over steps: every step pale, the moving average on top. Readable on light and dark.

    Args:
        held_out: the loss of images that are not trained on, by step, as a curve of its own.
    """
    width, height, margin = 640, 240, 40
    top = max([*losses, *(loss for _, loss in held_out)], default=1.0) or 1.0
    span, bottom = max(1, len(losses) - 1), height - margin

    def place(step: float, loss: float) -> str:
        """Where the loss of a step lies; the first step is 1."""
        across = margin + (width - 2 * margin) * max(0.0, step - 1) / span
        return f"{across:.1f},{bottom - (height - 2 * margin) * loss / top:.1f}"

    def points(values: Sequence[float]) -> str:
        return " ".join(place(step, value) for step, value in enumerate(values, 1))

    apart = ""
    if held_out:
        path = " ".join(place(step, loss) for step, loss in held_out)
        apart = f'<polyline points="{path}" fill="none" stroke="#d97706" stroke-width="2"/>'
        apart += _text_at(width - margin, margin - 8, "held-out images", "end", ' style="fill:#d97706"')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="loss" '
        'font-family="sans-serif" font-size="12" fill="#808080">'
        f'<polyline points="{margin},{margin} {margin},{bottom} {width - margin},{bottom}" fill="none" '
        'stroke="#808080"/>'
        f'<polyline points="{points(losses)}" fill="none" stroke="#8ab4f8" stroke-opacity="0.5"/>'
        f'<polyline points="{points(smoothed(losses))}" fill="none" stroke="#3b78e7" stroke-width="2"/>{apart}'
        f'<text x="{margin}" y="{margin - 8}">loss (at most {top:.4f})</text>'
        f'<text x="{width - margin}" y="{bottom + 18}" text-anchor="end">step {len(losses)}</text>'
        "</svg>\n"
    )
