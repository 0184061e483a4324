"""The frame of a chart: axes, texts, and where a point lies in the picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, EDGE = 420, 260, 52, 40, 18
"""Of a picture in pixels; the margins around its frame."""


@dataclass(frozen=True)
class Axes:
    """A frame with its two axes.

    Attributes:
        x, y: their ends.
        height: of the picture.
        ends: how the ends of the x axis are written.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    height: int = HEIGHT
    ends: str = "{:g}"

    @property
    def right(self) -> int:
        """Where the frame ends."""
        return WIDTH - EDGE

    @property
    def floor(self) -> int:
        """Where it stands."""
        return self.height - BOTTOM

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies in the picture."""
        across = LEFT + (self.right - LEFT) * (x - self.x[0]) / (self.x[1] - self.x[0])
        up = self.floor - (self.floor - EDGE) * (y - self.y[0]) / (self.y[1] - self.y[0])
        return round(across, 1), round(up, 1)

    def drawn(self, x_title: str, y_title: str) -> str:
        """Lines, ends and titles."""
        right, floor = self.right, self.floor
        return "".join(
            [
                f'<polyline points="{LEFT},{EDGE} {LEFT},{floor} {right},{floor}" fill="none" stroke="#808080"/>',
                text_at(LEFT, floor + 15, self.ends.format(self.x[0]), "start"),
                text_at(right, floor + 15, self.ends.format(self.x[1]), "end"),
                text_at((LEFT + right) / 2, floor + 31, x_title, "middle"),
                text_at(LEFT - 6, floor, f"{self.y[0]:.3g}", "end"),
                text_at(LEFT - 6, EDGE + 8, f"{self.y[1]:.3g}", "end"),
                text_at(LEFT + 6, EDGE - 5, y_title, "start"),
            ]
        )

    def framed(self, content: str, x_title: str, y_title: str) -> str:
        """The whole picture."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" role="img" '
            f'aria-label="{escape(y_title)} over {escape(x_title)}" '
            f'font-family="sans-serif" font-size="11" fill="#808080">{content}</svg>'
        )


def text_at(x: float, y: float, text: str, anchor: str, extra: str = "") -> str:
    """A text of a chart; `anchor` is start, middle or end."""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{extra}>{escape(text)}</text>'


def axis_range(values: Sequence[float]) -> tuple[float, float]:
    """Low and high end of an axis, with some air."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    air = 0.06 * (high - low) or max(abs(high), 1.0) * 0.05
    return low - air, high + air
