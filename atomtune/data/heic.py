"""HEIC (HEIF) images of phones, which Pillow reads with the package pillow-heif."""

from pathlib import Path

from ..errors import AtomtuneError

_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})


class HeicSupportMissing(AtomtuneError):
    """A HEIC image, while pillow-heif is not installed."""


def is_heic(path: Path) -> bool:
    """Whether a file is HEIC by its first bytes (ISO/IEC 23008-12, file type box), whatever its name."""
    with path.open("rb") as stream:
        head = stream.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in _BRANDS


def register_heic(path: Path) -> None:
    """Register HEIC with Pillow, to read this image. Raises HeicSupportMissing without pillow-heif."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise HeicSupportMissing(f"{path.name} is a HEIC image", 'pip install "atomtune[heic]"') from None
    register_heif_opener()
