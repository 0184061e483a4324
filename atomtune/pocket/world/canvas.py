"""A small drawing surface in unit coordinates, supersampled so that 64-pixel pictures have clean edges."""

from collections.abc import Sequence

from PIL import Image, ImageChops, ImageDraw

Color = tuple[int, int, int]
Point = tuple[float, float]

SIDE = 256
"""Side of the drawing surface in pixels; pictures are reduced from it."""


def mix(a: Color, b: Color, t: float) -> Color:
    """Blend two colours: `a` at t = 0, `b` at t = 1."""
    return (
        round(a[0] + (b[0] - a[0]) * t),
        round(a[1] + (b[1] - a[1]) * t),
        round(a[2] + (b[2] - a[2]) * t),
    )


def lighter(color: Color, t: float = 0.35) -> Color:
    """Blend a colour towards white by `t`."""
    return mix(color, (255, 255, 255), t)


def darker(color: Color, t: float = 0.35) -> Color:
    """Blend a colour towards black by `t`."""
    return mix(color, (0, 0, 0), t)


class Canvas:
    """An RGBA square whose coordinates run from 0 to 1, x to the right and y downwards.

    Every fill is opaque unless it is a four-tuple with an alpha. A new canvas is transparent.
    """

    def __init__(self) -> None:
        self.image = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.image)

    def polygon(self, points: Sequence[Point], fill: Sequence[int]) -> None:
        """Fill a polygon."""
        self._draw.polygon(_scaled(points), fill=tuple(fill))

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, fill: Sequence[int], radius: float = 0.0) -> None:
        """Fill a rectangle, with rounded corners where `radius` is above zero."""
        box = _box(x0, y0, x1, y1)
        if radius > 0:
            self._draw.rounded_rectangle(box, radius=radius * SIDE, fill=tuple(fill))
        else:
            self._draw.rectangle(box, fill=tuple(fill))

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Sequence[int]) -> None:
        """Fill an ellipse with centre (x, y) and half-axes rx, ry."""
        self._draw.ellipse(_box(x - rx, y - ry, x + rx, y + ry), fill=tuple(fill))

    def line(self, points: Sequence[Point], fill: Sequence[int], width: float) -> None:
        """Draw a polyline `width` wide, with round joints and ends."""
        pixels = _scaled(points)
        self._draw.line(pixels, fill=tuple(fill), width=max(1, round(width * SIDE)), joint="curve")
        r = width * SIDE / 2
        for x, y in (pixels[0], pixels[-1]):
            self._draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(fill))

    def arc(
        self, x: float, y: float, rx: float, ry: float, start: float, end: float, fill: Sequence[int], width: float
    ) -> None:
        """Draw an arc of an ellipse from `start` to `end` degrees, clockwise from three o'clock."""
        self._draw.arc(
            _box(x - rx, y - ry, x + rx, y + ry), start, end, fill=tuple(fill), width=max(1, round(width * SIDE))
        )

    def pie(self, x: float, y: float, rx: float, ry: float, start: float, end: float, fill: Sequence[int]) -> None:
        """Fill a slice of an ellipse from `start` to `end` degrees, clockwise from three o'clock."""
        self._draw.pieslice(_box(x - rx, y - ry, x + rx, y + ry), start, end, fill=tuple(fill))

    def gradient(self, top: Color, bottom: Color, y0: float = 0.0, y1: float = 1.0) -> None:
        """Fill the full width between y0 and y1 with a vertical gradient."""
        first, last = round(y0 * SIDE), round(y1 * SIDE)
        for row in range(first, last):
            t = (row - first) / max(1, last - first - 1)
            self._draw.line(((0, row), (SIDE, row)), fill=mix(top, bottom, t))

    def overlay(self, other: "Canvas", clip: "Canvas | None" = None) -> None:
        """Lay another canvas over this one, only where `clip` is opaque if it is given."""
        layer = other.image
        if clip is not None:
            alpha = ImageChops.multiply(layer.getchannel("A"), clip.image.getchannel("A"))
            layer = layer.copy()
            layer.putalpha(alpha)
        self.image.alpha_composite(layer)


def _scaled(points: Sequence[Point]) -> list[Point]:
    return [(x * SIDE, y * SIDE) for x, y in points]


def _box(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
    left, right = sorted((x0 * SIDE, x1 * SIDE))
    top, bottom = sorted((y0 * SIDE, y1 * SIDE))
    return (left, top, right, bottom)
