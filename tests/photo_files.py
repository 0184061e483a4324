"""Images made for the tests, and what is heard while they are read."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from atomtune.runtime.progress import Events


class Heard(Events):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """An image unlike any other."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def fill(folder: Path, count: int, side: int = 48) -> Path:
    """A folder of `count` different PNGs, 00.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        noise(side, side, number).save(folder / f"{number:02d}.png")
    return folder


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and ends where its pixels begin."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + header
        + struct.pack(">I", zlib.crc32(header))
        + b"\0\0\xff\xffIDAT"
    )
