"""What the drawings of things share: outlines, shades, curves and a few fixed colours."""

import math

from PIL import ImageChops

from .canvas import SIDE, Canvas, Color, Point, darker, lighter

INK: Color = (40, 38, 50)
PALE: Color = (250, 248, 238)
GLASS: Color = (186, 224, 246)
EDGE = 0.018
"""Width of the outline round a part: a little over half a pixel of a thing that is 38 pixels high."""


def is_dark(color: Color) -> bool:
    """Whether a colour needs light details on it."""
    return 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2] < 80


def edge_of(color: Color) -> Color:
    """The outline of parts in this colour: dark, except round nearly black parts, which would sink into the night."""
    return lighter(color, 0.55) if max(color) < 75 else darker(color, 0.68)


def outlined(canvas: Canvas, part: Canvas, color: Color, width: float = EDGE) -> None:
    """Lay a part on the canvas with an outline of this colour round its silhouette."""
    box = part.image.getbbox()
    if box is None:
        return
    radius = round(width * SIDE)
    left, top, right, bottom = box[0] - radius, box[1] - radius, box[2] + radius, box[3] + radius
    alpha = part.image.getchannel("A")
    grown = alpha.crop((left, top, right, bottom))
    for k in range(8):
        dx = round(radius * math.cos(k * math.pi / 4))
        dy = round(radius * math.sin(k * math.pi / 4))
        grown = ImageChops.lighter(grown, alpha.crop((left + dx, top + dy, right + dx, bottom + dy)))
    canvas.image.paste((*color, 255), (left, top), grown)
    canvas.image.paste(part.image.crop(box), box[:2], alpha.crop(box))


def shaded(canvas: Canvas, shape: Canvas, x0: float, y0: float, x1: float, y1: float) -> None:
    """Darken the part of a painted shape that lies inside the rectangle."""
    box = (round(x0 * SIDE), round(y0 * SIDE), round(x1 * SIDE), round(y1 * SIDE))
    mask = shape.image.getchannel("A").crop(box).point(lambda alpha: alpha * 0.18)
    canvas.image.paste((0, 0, 0, 255), box[:2], mask)


def curve(a: Point, control: Point, b: Point, steps: int = 12) -> list[Point]:
    """Points of the quadratic curve from a to b that bends towards `control`."""
    points = []
    for i in range(steps + 1):
        t = i / steps
        u, v, w = (1 - t) ** 2, 2 * t * (1 - t), t * t
        points.append((u * a[0] + v * control[0] + w * b[0], u * a[1] + v * control[1] + w * b[1]))
    return points
