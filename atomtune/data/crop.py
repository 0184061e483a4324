"""Where the square lies that is cut out of an image."""

from typing import Any

import torch
from PIL import Image, ImageOps

from ..errors import UsageError
from ..runtime.seeds import derived_generator

CROPS = ("center", "random", "smart")

_SIDE = 256  # pixels, short side of what smartcrop looks at
_LONGEST = 16  # times as long as wide, up to where smartcrop is asked


def check_crop(crop: str) -> None:
    """Raises UsageError for a crop that is not known, or whose package is not installed."""
    if crop not in CROPS:
        raise UsageError(f"there is no crop {crop!r}", f"one of {', '.join(CROPS)}")
    if crop == "smart":
        _smartcrop()


def square(image: Image.Image, side: int, crop: str = "center", seed: int = 0, name: str = "") -> Image.Image:
    """The largest square at the place that `crop` says, scaled to `side` pixels.

    Args:
        image: RGB.
        crop: "center"; "random", the same place for the same `seed` and `name`; "smart", where detail, colour and
            skin are.
    """
    place = (0.5, 0.5)
    if crop == "random":
        place = (float(torch.rand((), generator=derived_generator(seed, "crop", name))),) * 2
    elif crop == "smart":
        place = _where_it_matters(image)
    return ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS, centering=place)


def _where_it_matters(image: Image.Image) -> tuple[float, float]:
    """Share of the spare width on the left, and of the spare height above."""
    short, long = sorted(image.size)
    if long >= _LONGEST * short:
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
