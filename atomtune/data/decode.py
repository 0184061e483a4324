"""One image file → upright RGB pixels, whatever the file holds."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from ..errors import AtomtuneError

# by what a file holds, whatever its name says; nothing here starts another program, as PostScript would
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "HEIF")
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class NeedsHeif(AtomtuneError):
    """A HEIC image, and the package that reads them is not installed."""


def decode(path: Path, least: int) -> tuple[Image.Image, tuple[int, int]]:
    """The first frame of a file as `to_rgb` gives it, and its width and height in pixels.

    Args:
        least: JPEGs may come smaller than they are, as long as both sides keep at least this many pixels: that takes a
            fraction of the time and the memory.

    Raises NeedsHeif, and nearly anything else for a file that is broken: too many pixels (`Image.MAX_IMAGE_PIXELS`) is
    an Image.DecompressionBombWarning, a file that ends early an OSError.
    """
    if path.stat().st_size == 0:
        raise ValueError("the file is empty")
    if _is_heif(path):
        _read_heif(path)
    Image.init()
    formats = [name for name in _FORMATS if name in Image.OPEN]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata, which do not matter here
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=formats) as opened:
            size = opened.size
            opened.draft("RGB", (least, least))
            opened.load()
            turned = _turn(opened)
            return to_rgb(turned), size if turned.size == opened.size else (size[1], size[0])


def to_rgb(image: Image.Image) -> Image.Image:
    """Images of every mode in 8 bits: deep greys scaled, transparency laid on white, colours in sRGB."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        image = _grey(image)
    if image.has_transparency_data:
        layer = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer)
    if image.mode != "CMYK":
        image = image.convert("RGB")
    return _in_srgb(image, profile).convert("RGB") if profile else image.convert("RGB")


def _turn(image: Image.Image) -> Image.Image:
    """Upright, as the EXIF data say; as it lies where they are damaged."""
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # the parser raises nearly anything for damaged data, and the pixels are good
        turn = None
    turned = image.copy() if turn is None else image.transpose(turn)
    turned.info = dict(image.info)
    return turned


def _grey(image: Image.Image) -> Image.Image:
    """Greys of 16 or 32 bits or in floating point → L or LA. Their range is that of the type, or the one they fill."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    tops = {"F": (1.0, 255.0, 65535.0), "I": (255.0, 65535.0)}.get(image.mode, (65535.0,))
    top = next((top for top in tops if low >= 0.0 and high <= top), None)
    bottom, top = (0.0, top) if top else (low, max(high, low + 1.0))
    grey = Image.fromarray(np.rint((values - bottom) * (255.0 / (top - bottom))).astype(np.uint8))
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Colours as seen: cameras that see more than sRGB, and print, say in a profile what their numbers mean."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != image.mode or "sRGB" in ImageCms.getProfileDescription(source):
            return image
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image  # a damaged profile: the plain conversion will do


def _is_heif(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


def _read_heif(path: Path) -> None:
    """Teach Pillow the format. Raises NeedsHeif."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise NeedsHeif(f"{path.name} is a HEIC image", 'pip install "atomtune[heic]"') from None
    register_heif_opener()
