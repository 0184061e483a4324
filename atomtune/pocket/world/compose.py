"""A picture of the small world: a thing of some style, set into a scene, from one point of view."""

import math
import random
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageFilter

from .built import BUILT
from .canvas import SIDE, Canvas
from .creatures import CREATURES
from .goods import GOODS
from .scenes import SCENES
from .style import Style
from .vehicles import VEHICLES
from .vessels import VESSELS

THINGS: dict[str, Callable[[Canvas, Style], None]] = {**BUILT, **VEHICLES, **VESSELS, **CREATURES, **GOODS}
"""Every class of things: name -> drawing function. A thing stands on y = 0.97, centred on x = 0.5."""

FIRST_TRAINING_SEED = 0
"""Style seeds from here on, up to `FIRST_HELD_OUT_SEED`, are for training."""
FIRST_HELD_OUT_SEED = 1_000_000
"""Style and view seeds from here on are never trained on: things `pocket` has not seen."""

_FOOT = 0.97  # where a thing stands in its own unit box
_SMALLEST, _LARGEST = 0.55, 0.76  # side of the thing's box, as a part of the picture's side
_TILT = 6.0  # degrees, at most
_SHADOW = 88  # opacity of the contact shadow at its middle, of 255


def render(thing: str, style: Style, scene: str, view: int, size: int = 64) -> Image.Image:
    """Render a thing in a scene: RGB, size x size pixels; the same arguments always give the same image.

    `scene` is a key of `SCENES`, `view` a seed: it decides scale, place, mirroring and tilt of the thing, and the
    details of the scene. KeyError for a thing or scene that does not exist.
    """
    return render_with_mask(thing, style, scene, view, size)[0]


def render_with_mask(
    thing: str, style: Style, scene: str, view: int, size: int = 64
) -> tuple[Image.Image, Image.Image]:
    """The image as `render` gives it, and how far each of its pixels shows the thing: L, 0 to 255, size x size.

    The thing's shadow is no part of it, nor is what the scene has in front of it.
    """
    place = SCENES[scene]
    rng = random.Random(f"view {view} {thing} {scene}")
    side = _SMALLEST + (_LARGEST - _SMALLEST) * rng.random() ** 0.6  # mostly large
    spare = max(0.0, 0.5 - 0.46 * side)
    center = 0.5 + rng.uniform(-0.75, 0.75) * spare
    foot = rng.uniform(*place.floor)
    tilt, mirrored = rng.uniform(-_TILT, _TILT), rng.random() < 0.5

    cutout = Canvas()
    THINGS[thing](cutout, style)
    canvas = Canvas()
    place.back(canvas, rng)
    layer = _placed(cutout.image, side, center, foot, tilt, mirrored)
    canvas.image.alpha_composite(_shadow(layer, foot))
    canvas.image.alpha_composite(layer)
    mask = layer.getchannel("A")
    if place.front is not None:
        before = rng.getstate()
        place.front(canvas, rng)
        rng.setstate(before)
        cover = Canvas()
        place.front(cover, rng)  # the same again on an empty canvas: its fills are opaque
        mask.paste(0, mask=cover.image.getchannel("A"))
    image, reduced = canvas.image.convert("RGB"), (size, size)
    return image.resize(reduced, Image.Resampling.LANCZOS), mask.resize(reduced, Image.Resampling.LANCZOS)


def _placed(cutout: Image.Image, side: float, center: float, foot: float, tilt: float, mirrored: bool) -> Image.Image:
    """The thing on a transparent picture, its foot's middle at (center, foot), turned about that point."""
    cos, sin = math.cos(math.radians(tilt)) / side, math.sin(math.radians(tilt)) / side
    flip = -1.0 if mirrored else 1.0
    x, y = center * SIDE, foot * SIDE
    # The inverse map, as PIL wants it: from the picture's pixels to the cutout's.
    inverse = (
        flip * cos,
        -flip * sin,
        0.5 * SIDE - flip * (cos * x - sin * y),
        sin,
        cos,
        _FOOT * SIDE - (sin * x + cos * y),
    )
    return cutout.transform((SIDE, SIDE), Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR)


def _shadow(layer: Image.Image, foot: float) -> Image.Image:
    """A soft dark ellipse under the lowest part of the thing, as wide as what stands near the floor."""
    quarter = SIDE // 4  # the shadow is soft: a quarter of the resolution does
    alpha = layer.getchannel("A").reduce(4)
    y = foot * quarter
    near = alpha.crop((0, max(0, round(y - 4)), quarter, min(quarter, round(y + 2)))).getbbox()
    shade = Image.new("L", (quarter, quarter), 0)
    if near is not None:
        left, right = near[0] - 1.5, near[2] + 1.5
        ImageDraw.Draw(shade).ellipse((left, y - 2.2, right, y + 2.4), fill=_SHADOW)
        shade = shade.filter(ImageFilter.GaussianBlur(1.2))
    black = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    black.putalpha(shade.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    return black
