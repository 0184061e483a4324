"""The style of one instance: what stays the same in every picture of the same thing."""

import colorsys
import random
from dataclasses import dataclass, field

from .canvas import Canvas, Color

HUES: dict[str, tuple[float, float, float]] = {
    # name: hue, saturation, value (each 0..1); an instance departs from it a little
    "red": (0.995, 0.85, 0.82),
    "orange": (0.075, 0.90, 0.95),
    "yellow": (0.145, 0.85, 0.96),
    "green": (0.36, 0.75, 0.62),
    "blue": (0.60, 0.78, 0.82),
    "purple": (0.775, 0.62, 0.68),
    "pink": (0.92, 0.45, 0.97),
    "brown": (0.07, 0.62, 0.48),
    "gray": (0.60, 0.06, 0.60),
    "white": (0.10, 0.04, 0.96),
    "black": (0.62, 0.15, 0.20),
}
PATTERNS = ("plain", "plain", "stripes", "bands", "dots", "checks", "diagonal")


@dataclass(frozen=True)
class Style:
    """One instance of a class. The same `seed` is the same thing; every seed is a different one.

    `number(name)` gives a continuous trait that depends on the seed and the name alone, so that drawing code can
    ask for traits in any order without disturbing the others.
    """

    seed: int
    main_name: str = field(init=False)
    accent_name: str = field(init=False)
    main: Color = field(init=False)
    accent: Color = field(init=False)
    pattern: str = field(init=False)

    def __post_init__(self) -> None:
        names = list(HUES)
        rng = random.Random(f"style {self.seed}")
        main_name = rng.choice(names)
        accent_name = rng.choice([name for name in names if name != main_name])
        object.__setattr__(self, "main_name", main_name)
        object.__setattr__(self, "accent_name", accent_name)
        object.__setattr__(self, "main", _shade(main_name, rng))
        object.__setattr__(self, "accent", _shade(accent_name, rng))
        object.__setattr__(self, "pattern", rng.choice(PATTERNS))

    def recolored(self, main_name: str) -> "Style":
        """The same instance painted in another main colour (as in "a red castle")."""
        other = Style(self.seed)
        object.__setattr__(other, "main_name", main_name)
        object.__setattr__(other, "main", _shade(main_name, random.Random(f"paint {self.seed}")))
        if other.accent_name == main_name:
            object.__setattr__(other, "accent_name", self.main_name)
            object.__setattr__(other, "accent", self.main)
        return other

    def number(self, name: str, low: float = 0.0, high: float = 1.0) -> float:
        """A continuous trait between low and high."""
        return random.Random(f"{self.seed} {name}").uniform(low, high)

    def count(self, name: str, low: int, high: int) -> int:
        """A whole-number trait from low to high, both included."""
        return random.Random(f"{self.seed} {name}").randint(low, high)

    def chance(self, name: str, probability: float = 0.5) -> bool:
        """A trait that an instance has or has not."""
        return random.Random(f"{self.seed} {name}").random() < probability

    def paint(self, canvas: Canvas, shape: Canvas) -> None:
        """Lay `shape` (drawn in the main colour) on the canvas, its surface decorated with the instance's pattern."""
        canvas.overlay(shape)
        if self.pattern == "plain":
            return
        surface = Canvas()
        n = self.count("pattern count", 4, 7)
        step = 1.0 / n
        shift = self.number("pattern shift", 0, step)
        for i in range(-1, n + 1):
            at = i * step + shift
            if self.pattern == "stripes":
                surface.rectangle(at, 0, at + 0.4 * step, 1, self.accent)
            elif self.pattern == "bands":
                surface.rectangle(0, at, 1, at + 0.4 * step, self.accent)
            elif self.pattern == "diagonal":
                for k in (-1, 0, 1):
                    left = at + k
                    surface.polygon(
                        [(left, 0), (left + 0.4 * step, 0), (left + 0.4 * step + 0.7, 1), (left + 0.7, 1)], self.accent
                    )
            else:
                for j in range(-1, n + 1):
                    down = j * step + shift
                    if self.pattern == "dots":
                        surface.ellipse(at, down + (i % 2) * step / 2, 0.26 * step, 0.26 * step, self.accent)
                    elif (i + j) % 2:
                        surface.rectangle(at, down, at + step, down + step, self.accent)
        canvas.overlay(surface, clip=shape)


def _shade(name: str, rng: random.Random) -> Color:
    hue, saturation, value = HUES[name]
    if saturation > 0.3:
        saturation = min(1.0, max(0.35, saturation + rng.uniform(-0.12, 0.10)))
    hue = (hue + rng.uniform(-0.018, 0.018)) % 1.0
    value = min(1.0, max(0.12, value + rng.uniform(-0.07, 0.05)))
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return (round(red * 255), round(green * 255), round(blue * 255))
