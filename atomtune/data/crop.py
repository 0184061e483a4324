"""Square crops: centre, random, or smart."""

from typing import Any

import torch
from PIL import Image, ImageOps

from ..errors import UsageError
from ..runtime.seeds import derived_generator
from .options import CROPS

_SIDE = 256  # pixels, short side of the image that smartcrop analyses
_MAX_ASPECT = 16  # above this aspect ratio the crop is central; smartcrop needs too long


def check_crop(crop: str) -> None:
    """Raise UsageError for an unknown crop, or one whose package is not installed."""
    if crop not in CROPS:
        raise UsageError(f"there is no crop {crop!r}", f"one of {', '.join(CROPS)}")
    if crop == "smart":
        _smartcrop()


def place_of(image: Image.Image, crop: str, seed: int = 0, name: str = "") -> tuple[float, float]:
    """Where the square is cut: fractions of the spare width on the left and of the spare height above.

    Args:
        image: RGB.
        crop: "center"; "random", the same for the same `seed` and `name`; "smart", by detail, colour and skin.
    """
    if crop == "random":
        return (float(torch.rand((), generator=derived_generator(seed, "crop", name))),) * 2
    return _smart_place(image) if crop == "smart" else (0.5, 0.5)


def fitted(image: Image.Image, side: int, place: tuple[float, float]) -> Image.Image:
    """The largest square at a place, scaled to `side` pixels."""
    return ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS, centering=place)


def _smart_place(image: Image.Image) -> tuple[float, float]:
    """Fractions of the spare width on the left and of the spare height above."""
    short, long = sorted(image.size)
    if long >= _MAX_ASPECT * short:
        return 0.5, 0.5
    small = image.resize((round(image.width * _SIDE / short), round(image.height * _SIDE / short)))
    best = _smartcrop().SmartCrop().crop(small, _SIDE, _SIDE, prescale=False, min_scale=1.0)["top_crop"]
    spare = (small.width - _SIDE, small.height - _SIDE)
    return best["x"] / max(spare[0], 1), best["y"] / max(spare[1], 1)


def _smartcrop() -> Any:
    try:
        import smartcrop
    except ImportError:
        raise UsageError("--crop smart needs the package smartcrop", 'pip install "atomtune[smart-crop]"') from None
    return smartcrop
