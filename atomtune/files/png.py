"""PNG files: written atomically, and the texts that they carry."""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..data.png_text import without_long_texts
from ..errors import AtomtuneError, excerpt
from .atomic import write_atomically

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def save_png(path: Path, image: Image.Image, texts: Mapping[str, str] | None = None) -> None:
    """Write a PNG, with texts beside the pixels, atomically. Raises AtomtuneError where it cannot be written."""
    info = PngInfo()
    for key, text in (texts or {}).items():
        info.add_text(key, text)
    write_atomically(path, lambda temporary: image.save(temporary, format="PNG", pnginfo=info))


def is_png(path: Path) -> bool:
    """Whether a file begins as PNGs do."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(_SIGNATURE)) == _SIGNATURE
    except OSError:
        return False


def read_png_texts(path: Path) -> tuple[int, int, dict[str, str]]:
    """Width, height and the texts before the pixels, by name, without those that are compressed or very long.

    Raises AtomtuneError where the file is damaged.
    """
    try:
        with Image.open(without_long_texts(path), formats=["PNG"]) as opened:
            texts = {str(name): str(value) for name, value in opened.info.items() if isinstance(value, str)}
            return *opened.size, texts
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise AtomtuneError(f"{path} is a damaged PNG ({excerpt(problem, 200)})", "fetch it again") from None
