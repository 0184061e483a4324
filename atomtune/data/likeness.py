"""Images that are nearly the same: scaled, compressed again, brightened a little, or taken a moment later."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

_SIDE, _KEPT = 32, 8  # of the small image, and of the low frequencies of its cosine transform that count
NEAR_BITS, NEAR_COLOR = 6, 16
"""Of 64 bits, and of 256 levels of the mean red, green and blue: what nearly equal images differ in at most."""


@dataclass(frozen=True)
class Fingerprint:
    """What an image looks like from afar.

    Attributes:
        bits: 64 of them, whether low frequencies are above their median (Zauner 2010, "Implementation and
            benchmarking of perceptual image hash functions", section 3.2).
        color: mean red, green and blue, from 0 to 255.
    """

    bits: int
    color: tuple[float, float, float]


def fingerprint(image: Image.Image) -> Fingerprint:
    """The fingerprint of an RGB image; nearly the same for every size that it is decoded at."""
    small = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX, reducing_gap=2.0), dtype=np.float64)
    grey = small @ (0.299, 0.587, 0.114)
    low = (_BASIS @ grey @ _BASIS.T).ravel()[1:]  # without the mean
    bits = np.append(low > np.median(low), False)
    red, green, blue = small.mean(axis=(0, 1))
    return Fingerprint(int("".join("01"[bit] for bit in bits.astype(int)), 2), (float(red), float(green), float(blue)))


def near(fingerprints: Sequence[Fingerprint]) -> list[tuple[int, int]]:
    """Pairs of images that are nearly the same, each with the lower number in front, in order."""
    if len(fingerprints) < 2:
        return []
    bits = np.array([one.bits for one in fingerprints], dtype=np.uint64)
    colors = np.array([one.color for one in fingerprints])
    found: list[tuple[int, int]] = []
    for number in range(len(bits) - 1):
        differ = _count(bits[number] ^ bits[number + 1 :]) <= NEAR_BITS
        differ &= np.abs(colors[number] - colors[number + 1 :]).max(axis=1) <= NEAR_COLOR
        found += [(number, number + 1 + int(other)) for other in np.flatnonzero(differ)]
    return found


def _count(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """How many bits of each number are set."""
    return np.unpackbits(values.view(np.uint8).reshape(len(values), 8), axis=1).sum(axis=1)


def _basis() -> npt.NDArray[np.float64]:
    """The first rows of the cosine transform, (8, 32)."""
    place = (np.arange(_SIDE) + 0.5) * math.pi / _SIDE
    return np.cos(np.arange(_KEPT)[:, None] * place[None, :])


_BASIS = _basis()
