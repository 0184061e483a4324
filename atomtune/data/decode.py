"""Decoding of one image file of any kind to upright sRGB pixels."""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from .heic import is_heic, register_heic
from .png_text import without_long_texts

# by content, whatever the suffix; without PostScript, which starts another program
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "HEIF")
_EXIF_ORIENTATION = 0x0112
_JPEG_FACTOR = 4  # times the pixels of other formats; a progressive JPEG is held whole, in 3 bytes a pixel
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(path: Path, least: int) -> tuple[Image.Image, tuple[int, int]]:
    """The first frame of a file as `to_rgb` gives it, and its width and height in pixels.

    Args:
        least: JPEGs may come smaller than they are, as long as both sides keep at least this many pixels: that takes a
            fraction of the time and the memory.

    Raises HeicSupportMissing, and for a broken file nearly anything: Image.DecompressionBombWarning for too many pixels
    (`Image.MAX_IMAGE_PIXELS`), OSError for a file that ends early.
    """
    with _opened(path, least) as (opened, size):
        turned = _turn(opened)
        return to_rgb(turned), size if turned.size == opened.size else (size[1], size[0])


def alpha_of(path: Path) -> Image.Image | None:
    """How opaque the first frame of a file is, upright, "L"; None where nothing in it can be transparent.

    Raises as `decode`.
    """
    with _opened(path, 1) as (opened, _):
        if not opened.has_transparency_data:
            return None
        turned = _turn(opened)
        layer = turned.convert("LA") if turned.mode == "La" else turned.convert("RGBA")
        return layer.getchannel("A")


@contextmanager
def _opened(path: Path, least: int) -> Iterator[tuple[Image.Image, tuple[int, int]]]:
    """The first frame of a file with its pixels read, and its whole size, neither turned."""
    if path.stat().st_size == 0:
        raise ValueError("the file is empty")
    with _PILLOW as limit:
        opened, size = _open(path, least)
        with opened:
            # of a JPEG, those that it is going to be decoded to
            if limit is not None and opened.width * opened.height > limit:
                raise Image.DecompressionBombWarning
            opened.load()
            yield opened, size


def _open(path: Path, least: int) -> tuple[Image.Image, tuple[int, int]]:
    """An image whose pixels are not read yet, and its whole size; a JPEG is going to be decoded at a fraction of it."""
    with _PILLOW.lock:
        if is_heic(path):
            register_heic(path)
        Image.init()
        formats = [name for name in _FORMATS if name in Image.OPEN]
    with path.open("rb") as stream:
        is_jpeg = stream.read(3) == b"\xff\xd8\xff"
    opened = Image.open(path if is_jpeg else without_long_texts(path, only_xmp=True), formats=formats)
    size = opened.size
    if is_jpeg:
        opened.draft("RGB", (least, least))
    return opened, size


class _Pillow:
    """Pillow's settings of the whole process, as decoding needs them, for as long as any thread decodes.

    Within, warnings of odd metadata are not shown, and the limit of pixels is that of JPEGs; entering gives the limit
    that there was before.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.limit: int | None = None
        self._inside = 0
        self._before = ExitStack()

    def __enter__(self) -> int | None:
        with self.lock:
            if not self._inside:
                self.limit = Image.MAX_IMAGE_PIXELS
                self._before.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                Image.MAX_IMAGE_PIXELS = None if self.limit is None else _JPEG_FACTOR * self.limit
            self._inside += 1
            return self.limit

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self._inside -= 1
            if not self._inside:
                Image.MAX_IMAGE_PIXELS = self.limit
                self._before.close()

    @property
    def pixels(self) -> int | None:
        """The limit that there is without decoding."""
        with self.lock:
            return self.limit if self._inside else Image.MAX_IMAGE_PIXELS


_PILLOW = _Pillow()


def pixel_limit() -> int | None:
    """Pixels that an image may have; None for any number."""
    return _PILLOW.pixels


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to 8-bit sRGB: deep greys are scaled, transparency is put on white."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        image = _grey(image)
    if image.has_transparency_data:
        layer = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer)
    if image.mode not in ("CMYK", "RGB"):
        image = image.convert("RGB")
    if profile:
        image = _in_srgb(image, profile)
    return image if image.mode == "RGB" else image.convert("RGB")  # which makes a copy in any case


def _turn(image: Image.Image) -> Image.Image:
    """Turn an image upright by its EXIF orientation; unchanged where that is damaged."""
    try:
        turn = _TRANSPOSES.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # the parser raises nearly anything for damaged data, and the pixels are good
        turn = None
    if turn is None:
        # of other formats than JPEG an image reads on where its pixels are asked for
        return image if image.format == "JPEG" else _with_info(image.copy(), image)
    return _with_info(image.transpose(turn), image)


def _with_info(image: Image.Image, of: Image.Image) -> Image.Image:
    image.info = dict(of.info)
    return image


def _grey(image: Image.Image) -> Image.Image:
    """Greys of 16 or 32 bits or floating point as 8-bit L or LA, scaled from the range of the type or of the values."""
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
    """Colours of an embedded ICC profile (wide gamut, CMYK) converted to sRGB."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != image.mode or "sRGB" in ImageCms.getProfileDescription(source):
            return image
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image  # a damaged profile is ignored
