"""Where images are cut to a shape: in the centre, at random, or where there is most to see."""

from typing import Any

import torch
from PIL import Image, ImageOps

from ..errors import UsageError
from ..runtime.seeds import derived_generator
from .options import CROPS
from .shapes import Size

_SIDE = 256  # pixels, short side of the image that smartcrop analyses
_MAX_ASPECT = 16  # above this aspect ratio the crop is central; smartcrop needs too long
SQUARE = (1, 1)

Place = tuple[float, float]
"""Fractions of the spare width on the left and of the spare height above."""


def check_crop(crop: str) -> None:
    """Raise UsageError for an unknown crop, or one whose package is not installed."""
    if crop not in CROPS:
        raise UsageError(f"there is no crop {crop!r}", f"one of {', '.join(CROPS)}")
    if crop == "smart":
        _smartcrop()


def place_of(image: Image.Image, crop: str, seed: int = 0, name: str = "", shape: Size = SQUARE) -> Place:
    """Where a shape is cut out.

    Args:
        image: RGB.
        crop: "center"; "random", the same for the same `seed` and `name`; "smart", by detail, colour and skin.
        shape: its aspect ratio counts.
    """
    if crop == "random":
        return (float(torch.rand((), generator=derived_generator(seed, "crop", name))),) * 2
    return _smart_place(image, shape) if crop == "smart" else (0.5, 0.5)


def fitted(image: Image.Image, shape: Size, place: Place) -> Image.Image:
    """The largest cut of a shape at a place, scaled to its size in pixels."""
    return ImageOps.fit(image, shape, Image.Resampling.LANCZOS, centering=place)


def offset(size: Size, shape: Size, place: Place) -> tuple[int, int]:
    """Left and upper edge of the cut, in pixels of the whole image (its width and height) as it is scaled for it."""
    scale = max(shape[0] / size[0], shape[1] / size[1])
    left, top = ((scale * whole - cut) * part for whole, cut, part in zip(size, shape, place, strict=True))
    return max(0, round(left)), max(0, round(top))


def _smart_place(image: Image.Image, shape: Size) -> Place:
    short, long = sorted(image.size)
    if long >= _MAX_ASPECT * short:
        return 0.5, 0.5
    small = image.resize((round(image.width * _SIDE / short), round(image.height * _SIDE / short)))
    scale = min(small.width / shape[0], small.height / shape[1])
    cut = round(shape[0] * scale), round(shape[1] * scale)
    best = _smartcrop().SmartCrop().crop(small, *cut, prescale=False, min_scale=1.0)["top_crop"]
    spare = (small.width - cut[0], small.height - cut[1])
    return best["x"] / max(spare[0], 1), best["y"] / max(spare[1], 1)


def _smartcrop() -> Any:
    try:
        import smartcrop
    except ImportError:
        raise UsageError("--crop smart needs the package smartcrop", 'pip install "atomtune[smart-crop]"') from None
    return smartcrop
