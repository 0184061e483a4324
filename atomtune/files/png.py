"""PNG files, written atomically."""

from pathlib import Path

from PIL import Image

from .atomic import write_atomically


def save_png(path: Path, image: Image.Image) -> None:
    """Write a PNG, atomically. Raises AtomtuneError where it cannot be written."""
    write_atomically(path, lambda temporary: image.save(temporary, format="PNG"))
