"""Where the thing is in an image: by the colours of the border, by one colour, or by a model of the package rembg."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, ImageDraw, ImageFilter

from ..errors import AtomtuneError, UsageError, excerpt
from .options import MASK_WAYS

_SIDE = 256  # pixels, of the long side that is looked at
_RING = 0.04  # of the side: what counts as the border
_COLORS, _LEAST_SHARE = 12, 0.02  # of the border: so many, those that fill this share of it
_TOLERANCE = 25.0  # CIELAB distance from the colour of `color`

Floats = npt.NDArray[np.float32]


def foreground(image: Image.Image, way: str = "border", color: str | None = None) -> Image.Image:
    """The mask of the thing in an image: "L", of its size, 255 where the thing is.

    Args:
        image: RGB.
        way: "border", what differs from the colours along the border (for even backgrounds); "color", what differs from
            `color`; "rembg", by that package's model (for any photo).
        color: as "#00ff00" or "white".

    Raises UsageError for an unknown way or colour, and where rembg is not installed; AtomtuneError where it fails.
    """
    if way not in MASK_WAYS:
        raise UsageError(f"there is no way {way!r} to make masks", f"one of {', '.join(MASK_WAYS)}")
    if way == "rembg":
        rembg = _rembg()
        try:
            mask: Image.Image = rembg.remove(image, only_mask=True)
        except Exception as problem:  # of its runtime, and of the download of its model
            raise AtomtuneError(
                f"rembg made no mask: {excerpt(problem) or type(problem).__name__}",
                "its model is downloaded once; --by border needs none",
            ) from problem
        return mask.convert("L")
    small = image.copy()
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    lab = _lab(small.filter(ImageFilter.MedianFilter(3)))
    if way == "color":
        distance = _distance(lab, _lab(Image.new("RGB", (1, 1), _rgb(color)))[0])
        threshold = _TOLERANCE
    else:
        distance = _distance(lab, _border_colors(lab))
        threshold = _otsu(distance)
    found = Image.fromarray(np.where(distance > threshold, 255, 0).astype(np.uint8))
    whole = _without_holes(found.filter(ImageFilter.MedianFilter(5)))
    return whole.resize(image.size, Image.Resampling.BILINEAR)


def _rgb(color: str | None) -> tuple[int, ...]:
    try:
        return ImageColor.getrgb(color or "")[:3]
    except ValueError:
        raise UsageError(f"{color!r} is not a colour", "as in --color white or --color '#00ff00'") from None


def _lab(image: Image.Image) -> Floats:
    """The pixels of an RGB image in CIELAB, (h, w, 3): L in 0..100, a and b around 0."""
    values = np.asarray(image.convert("LAB"), dtype=np.float32)
    # in Pillow's LAB, L fills a byte and a and b are signed bytes
    return np.concatenate([values[..., :1] / 2.55, (values[..., 1:] + 128) % 256 - 128], axis=2)


def _border_colors(lab: Floats) -> Floats:
    """The colours that fill most of the border, (n, 3)."""
    ring = max(2, round(_RING * max(lab.shape[:2])))
    inner = np.zeros(lab.shape[:2], dtype=bool)
    inner[ring:-ring, ring:-ring] = True
    pixels = lab[~inner]
    # the bins of a coarse grid, which need no start and no seed
    bins, counts = np.unique(np.round(pixels / 8).astype(np.int16), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_COLORS]
    chosen = [number for number in order if counts[number] >= _LEAST_SHARE * len(pixels)] or [order[0]]
    return bins[chosen].astype(np.float32) * 8


def _distance(lab: Floats, colors: Floats) -> Floats:
    """Of every pixel to the nearest of some colours, (h, w)."""
    nearest: Floats = np.full(lab.shape[:2], np.inf, dtype=np.float32)
    for color in colors:
        nearest = np.minimum(nearest, np.sqrt(((lab - color) ** 2).sum(axis=2)))
    return nearest


def _otsu(values: Floats) -> float:
    """The threshold that parts values best in two (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=128)
    centers = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = values.size - below
    sums = np.cumsum(counts * centers)
    apart = sums[:-1] / np.maximum(below, 1) - (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    return float(edges[1 + int(np.argmax(below * above * apart**2))])


def _without_holes(mask: Image.Image) -> Image.Image:
    """A mask whose black parts all reach the border."""
    framed = Image.new("L", (mask.width + 2, mask.height + 2), 0)
    framed.paste(mask, (1, 1))
    ImageDraw.floodfill(framed, (0, 0), 128)
    outside = framed.crop((1, 1, mask.width + 1, mask.height + 1)).point(lambda value: 255 if value == 128 else 0)
    return outside.point(lambda value: 255 - value)


def _rembg() -> Any:
    try:
        import rembg
    except ImportError:
        raise UsageError("--by rembg needs the package rembg", 'pip install "atomtune[masks]"') from None
    return rembg
