"""Vessels for a drink: cup and teapot."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from .canvas import Canvas, Color, Point, darker, lighter
from .parts import INK, PALE, curve, edge_of, is_dark, outlined, shaded
from .style import Style

DRINKS: tuple[Color, ...] = ((92, 54, 28), (176, 92, 34), (120, 150, 60), (244, 226, 190))


def _handle(canvas: Canvas, style: Style, x: float, y: float, reach: float, tall: float) -> None:
    """A handle on the right of a body whose side is at x: round, angular or ear-shaped, 2 * `tall` high."""
    thick = style.number("handle thickness", 0.065, 0.095)
    kind = style.count("handle kind", 0, 2)
    right = x + reach - thick / 2
    line: list[Point]
    if kind == 0:
        line = [
            (x, y - tall),
            *curve((x, y - tall), (right + 0.45 * reach, y - tall), (right, y)),
            *curve((right, y), (right, y + tall), (x, y + tall)),
        ]
    elif kind == 1:
        line = [(x, y - tall), (right, y - tall), (right, y + 0.5 * tall), (x, y + tall)]
    else:
        line = [
            (x, y - tall),
            *curve((x, y - tall), (right, y - 1.3 * tall), (right, y - 0.3 * tall)),
            *curve((right, y - 0.3 * tall), (right, y + 0.5 * tall), (x - 0.05, y + tall)),
        ]
    part = Canvas()
    for a, b in pairwise(line):
        part.line([a, b], style.accent, thick)
    outlined(canvas, part, edge_of(style.accent))


def cup(canvas: Canvas, style: Style) -> None:
    """A cup with a handle on its right, open and full, sometimes on a saucer."""
    saucer = style.chance("saucer", 0.4)
    bottom = 0.91 if saucer else 0.95
    half = style.number("width", 0.25, 0.33)
    base = style.number("foot", 0.5, 1.0) * half
    top = bottom - style.number("height", 0.44, 0.72)
    belly = style.number("belly", 0.0, 1.0)
    reach = style.number("handle reach", 0.17, 0.24)
    x = 0.5 - reach / 2
    rim = style.number("rim", 0.055, 0.085)
    if saucer:
        dish = Canvas()
        dish.ellipse(0.5, 0.91, 0.46, 0.065, style.accent)
        dish.ellipse(0.5, 0.90, 0.30, 0.035, darker(style.accent, 0.25))
        outlined(canvas, dish, edge_of(style.accent))
    high = bottom - top
    _handle(
        canvas,
        style,
        x + 0.9 * half,
        top + 0.43 * high,
        reach + 0.1 * half,
        style.number("handle height", 0.2, 0.28) * high,
    )
    part, shape = Canvas(), Canvas()
    control = (x + base + (half - base) * (0.5 + 0.7 * belly), bottom - (0.5 - 0.45 * belly) * high)
    side = curve((x + half, top), control, (x + base, bottom - 0.02))
    shape.polygon(side + [(2 * x - a, b) for a, b in reversed(side)], style.main)
    shape.ellipse(x, bottom - 0.02, base, 0.04, style.main)
    shape.ellipse(x, top, half, rim, style.main)
    style.paint(part, shape)
    shaded(part, shape, x + 0.45 * half, 0, 1, 1)
    inside = lighter(style.main, 0.55) if not is_dark(style.main) else lighter(style.main, 0.7)
    part.ellipse(x, top, half, rim, inside)
    drink = DRINKS[style.count("drink", 0, len(DRINKS) - 1)]
    part.ellipse(x, top + 0.012, 0.86 * half, 0.72 * rim, drink)
    if style.chance("accent foot", 0.5):
        foot = Canvas()
        foot.rectangle(0, bottom - 0.06, 1, 1, style.accent)
        part.overlay(foot, clip=shape)
    if style.chance("tea label", 0.3):
        thread = x - 0.45 * half
        part.rectangle(thread - 0.012, top, thread + 0.012, top + 0.26 * high, PALE if is_dark(style.main) else INK)
        part.rectangle(thread - 0.07, top + 0.26 * high, thread + 0.07, top + 0.26 * high + 0.15, edge_of(style.main))
        part.rectangle(thread - 0.05, top + 0.26 * high + 0.02, thread + 0.05, top + 0.26 * high + 0.13, PALE)
    outlined(canvas, part, edge_of(style.main))


def _tube(points: Sequence[Point], start: float, end: float) -> list[Point]:
    """The outline of a tube along the points whose half-width goes from `start` to `end`."""
    left, right = [], []
    last = len(points) - 1
    for i, (x, y) in enumerate(points):
        (x0, y0), (x1, y1) = points[max(0, i - 1)], points[min(last, i + 1)]
        length = math.hypot(x1 - x0, y1 - y0)
        half = start + (end - start) * i / last
        dx, dy = -(y1 - y0) / length * half, (x1 - x0) / length * half
        left.append((x + dx, y + dy))
        right.append((x - dx, y - dy))
    return left + right[::-1]


def teapot(canvas: Canvas, style: Style) -> None:
    """A teapot: spout on the left, handle on the right or above, lid with a knob."""
    hoop = style.chance("hoop handle", 0.3)
    wide = style.number("width", 0.25, 0.31)
    tall = style.number("height", 0.20, 0.25) if hoop else style.number("height", 0.23, 0.31)
    square = style.number("squareness", 1.7, 3.4)
    taper = style.number("taper", -0.16, 0.28)
    x = 0.53 if hoop else 0.49
    y = 0.95 - tall
    top = y - tall
    if hoop:
        arch = Canvas()
        thick = style.number("handle thickness", 0.055, 0.08)
        arch.arc(
            x,
            top + 0.12,
            0.95 * wide,
            style.number("hoop height", 0.40, 0.46) + top - 0.47 + 0.06,
            180,
            360,
            style.accent,
            thick,
        )
        outlined(canvas, arch, edge_of(style.accent))
    else:
        _handle(
            canvas,
            style,
            x + 0.75 * wide,
            y - 0.05,
            0.93 - x - 0.75 * wide,
            style.number("handle height", 0.5, 0.68) * tall,
        )
    spout = Canvas()
    tip = (0.06, top + style.number("spout height", -0.06, 0.08))
    root = (x - 0.55 * wide, y + style.number("spout root", 0.1, 0.45) * tall)
    bend = (0.12, root[1]) if style.chance("curved spout", 0.6) else ((tip[0] + root[0]) / 2, (tip[1] + root[1]) / 2)
    spout.polygon(_tube(curve(root, bend, tip), style.number("spout root width", 0.075, 0.11), 0.036), style.main)
    outlined(canvas, spout, edge_of(style.main))
    part, shape = Canvas(), Canvas()
    points: list[Point] = []
    for i in range(48):
        c, s = math.cos(math.tau * i / 48), math.sin(math.tau * i / 48)
        across, down = math.copysign(abs(c) ** (2 / square), c), math.copysign(abs(s) ** (2 / square), s)
        points.append((x + wide * across * (1 + taper * down), y + tall * down))
    shape.polygon(points, style.main)
    style.paint(part, shape)
    shaded(part, shape, x + 0.5 * wide, 0, 1, 1)
    outlined(canvas, part, edge_of(style.main))
    foot = Canvas()
    foot.rectangle(x - 0.55 * wide, 0.925, x + 0.55 * wide, 0.97, style.accent)
    lid_half = style.number("lid width", 0.5, 0.7) * wide
    dome = style.number("lid height", 0.07, 0.13)
    knob = style.number("knob", 0.038, 0.058)
    foot.pie(x, top + 0.05, lid_half, dome, 180, 360, style.accent)
    foot.rectangle(x - lid_half, top + 0.045, x + lid_half, top + 0.075, darker(style.accent, 0.2))
    foot.ellipse(x, top + 0.05 - dome - 0.6 * knob, knob, knob, style.accent)
    outlined(canvas, foot, edge_of(style.accent))


VESSELS: dict[str, Callable[[Canvas, Style], None]] = {"cup": cup, "teapot": teapot}
