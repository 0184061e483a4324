"""What the scenes share: the `Scene` record and the pieces (clouds, firs, flowers, ...) that several are made of."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from .canvas import Canvas, Color, Point, darker, lighter

Painter = Callable[[Canvas, random.Random], None]


@dataclass(frozen=True)
class Scene:
    """One place a thing can be shown in; coordinates are those of the whole picture."""

    words: str
    """What follows the thing in a caption, e.g. "in the jungle"."""
    back: Painter
    """Paints the whole square behind the thing."""
    front: Painter | None = None
    """Paints what stands in front of the thing's foot; covers at most the lowest quarter of the thing."""
    floor: tuple[float, float] = (0.80, 0.92)
    """Range of y on which the thing's foot may stand."""


def vary(color: Color, rng: random.Random, amount: int = 10) -> Color:
    """The colour a little lighter or darker, and a little off in each channel."""
    shift = rng.uniform(-amount, amount)
    red, green, blue = (min(255, max(0, round(part + shift + rng.uniform(-amount, amount) / 2))) for part in color)
    return (red, green, blue)


def spread(rng: random.Random, n: int, low: float = 0.0, high: float = 1.0) -> list[float]:
    """Positions, one at random inside each of n equal parts of low..high, so that none crowd together."""
    step = (high - low) / n
    return [low + (i + rng.uniform(0.15, 0.85)) * step for i in range(n)]


def wave(y: float, height: float, waves: float, phase: float, steps: int = 32) -> list[Point]:
    """Points of a sine line across the full width; `phase` in periods."""
    points = []
    for i in range(steps + 1):
        x = i / steps
        points.append((x, y + height * math.sin(2 * math.pi * (waves * x + phase))))
    return points


def below(canvas: Canvas, line: list[Point], fill: Color) -> None:
    """Fill everything below a line that runs from the left edge to the right one."""
    canvas.polygon([*line, (1.0, 1.0), (0.0, 1.0)], fill)


def leaf(canvas: Canvas, x: float, y: float, angle: float, length: float, width: float, fill: Color) -> None:
    """A pointed leaf (or petal) that starts in (x, y) and grows at `angle` radians, clockwise from the right."""
    along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    outline = ((0.0, 0.0), (0.25, 0.42), (0.5, 0.5), (0.78, 0.3), (1.0, 0.0), (0.78, -0.3), (0.5, -0.5), (0.25, -0.42))
    points = []
    for forth, side in outline:
        points.append(
            (
                x + forth * length * along[0] + side * width * across[0],
                y + forth * length * along[1] + side * width * across[1],
            )
        )
    canvas.polygon(points, fill)


def cloud(canvas: Canvas, x: float, y: float, size: float, fill: Color = (250, 252, 255)) -> None:
    """A flat-bottomed cloud about 2.4 x `size` wide."""
    canvas.ellipse(x, y - 0.22 * size, 0.6 * size, 0.5 * size, fill)
    canvas.ellipse(x - 0.65 * size, y, 0.55 * size, 0.33 * size, fill)
    canvas.ellipse(x + 0.65 * size, y, 0.6 * size, 0.36 * size, fill)
    canvas.rectangle(x - 0.7 * size, y, x + 0.7 * size, y + 0.33 * size, fill)


def clouds(canvas: Canvas, rng: random.Random, n: int, low: float, high: float, fill: Color = (250, 252, 255)) -> None:
    """A few clouds between the heights low and high."""
    for x in spread(rng, n, -0.05, 1.05):
        cloud(canvas, x, rng.uniform(low, high), rng.uniform(0.07, 0.11), fill)


def fir(canvas: Canvas, x: float, foot: float, height: float, fill: Color, snow: bool = False) -> None:
    """A fir of three tiers, with snow on them if asked."""
    canvas.rectangle(x - 0.04 * height, foot - 0.15 * height, x + 0.04 * height, foot, (92, 66, 48))
    for bottom, tip, half in ((0.12, 0.58, 0.30), (0.36, 0.80, 0.24), (0.60, 1.0, 0.17)):
        low, top = foot - bottom * height, foot - tip * height
        half *= height
        canvas.polygon([(x, top), (x + half, low), (x - half, low)], fill)
        if snow:
            middle = low + 0.5 * (top - low)
            canvas.polygon(
                [(x, top), (x + 0.62 * half, middle), (x + 0.2 * half, middle - 0.02), (x, middle + 0.03)]
                + [(x - 0.2 * half, middle - 0.02), (x - 0.62 * half, middle)],
                (248, 251, 255),
            )


def blades(canvas: Canvas, rng: random.Random, n: int, foot: float, height: float, colors: tuple[Color, ...]) -> None:
    """A row of n blades of grass that grow from y = `foot`."""
    for x in spread(rng, n):
        tall, lean, half = height * rng.uniform(0.55, 1.0), rng.uniform(-0.03, 0.03), rng.uniform(0.008, 0.016)
        canvas.polygon([(x - half, foot), (x + lean, foot - tall), (x + half, foot)], rng.choice(colors))


def sunflower(canvas: Canvas, x: float, y: float, r: float, foot: float, rng: random.Random) -> None:
    """A sunflower whose head of radius r is in (x, y) and whose stem reaches down to y = `foot`."""
    stem = (52, 120, 44)
    canvas.line([(x, y), (x, foot)], stem, 0.22 * r)
    if foot - y > 1.6 * r:
        leaf(canvas, x, y + 0.6 * (foot - y), -0.5, 1.2 * r, 0.55 * r, stem)
        leaf(canvas, x, y + 0.7 * (foot - y), math.pi + 0.5, 1.2 * r, 0.55 * r, stem)
    turn = rng.uniform(0, 1)
    for i in range(11):
        angle = turn + 2 * math.pi * i / 11
        leaf(
            canvas,
            x + 0.3 * r * math.cos(angle),
            y + 0.3 * r * math.sin(angle),
            angle,
            0.75 * r,
            0.5 * r,
            (255, 205, 20),
        )
    canvas.ellipse(x, y, 0.48 * r, 0.48 * r, (96, 56, 22))
    canvas.ellipse(x, y, 0.24 * r, 0.24 * r, (62, 34, 14))


def person(canvas: Canvas, x: float, foot: float, height: float, rng: random.Random) -> None:
    """A little passer-by seen from the front, in clothes of a random colour."""
    coat = rng.choice(
        ((214, 52, 56), (40, 104, 196), (246, 180, 32), (46, 150, 92), (150, 72, 168), (238, 120, 150), (240, 236, 224))
    )
    skin = rng.choice(((244, 204, 172), (222, 170, 128), (160, 108, 74), (108, 70, 48)))
    hair = rng.choice(((52, 36, 26), (28, 26, 30), (190, 140, 60), (132, 66, 34)))
    trousers = rng.choice(((44, 50, 74), (60, 56, 56), (78, 92, 122)))
    top, unit = foot - height, height
    canvas.rectangle(x - 0.11 * unit, foot - 0.42 * unit, x - 0.015 * unit, foot, trousers)
    canvas.rectangle(x + 0.015 * unit, foot - 0.42 * unit, x + 0.11 * unit, foot, trousers)
    canvas.rectangle(
        x - 0.20 * unit, top + 0.24 * unit, x + 0.20 * unit, top + 0.56 * unit, darker(coat, 0.2), 0.06 * unit
    )
    canvas.rectangle(x - 0.14 * unit, top + 0.23 * unit, x + 0.14 * unit, foot - 0.36 * unit, coat, 0.05 * unit)
    canvas.ellipse(x, top + 0.11 * unit, 0.115 * unit, 0.12 * unit, hair)
    canvas.ellipse(x, top + 0.14 * unit, 0.09 * unit, 0.10 * unit, skin)


def planks(canvas: Canvas, rng: random.Random, top: float, wood: Color, n: int = 9) -> None:
    """A floor of boards in perspective that fills everything below y = `top`."""
    meet, gap = rng.uniform(0.4, 0.6), darker(wood, 0.42)
    canvas.rectangle(0, top, 1, 1, gap)
    far, near = 1.25 / n, 2.3 / n
    for i in range(-n, n):
        shade = vary(wood, rng, 16)
        x0, x1 = meet + i * far, meet + (i + 1) * far - 0.008
        z0, z1 = meet + i * near, meet + (i + 1) * near - 0.014
        if max(x1, z1) < 0 or min(x0, z0) > 1:
            continue
        canvas.polygon([(x0, top), (x1, top), (z1, 1), (z0, 1)], shade)
        cut = rng.uniform(0.1, 0.9)
        y = top + cut * (1 - top)
        canvas.line([(x0 + cut * (z0 - x0), y), (x1 + cut * (z1 - x1), y)], gap, 0.01)


def trunk(canvas: Canvas, x: float, half: float, top: float, foot: float, fill: Color) -> None:
    """An upright tree trunk with a lighter side."""
    canvas.polygon([(x - half, top), (x + half, top), (x + 1.5 * half, foot), (x - 1.5 * half, foot)], fill)
    canvas.polygon(
        [(x - half, top), (x - 0.3 * half, top), (x - 0.5 * half, foot), (x - 1.5 * half, foot)], lighter(fill, 0.18)
    )
