"""The image files of a folder: found, and read, several at a time."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from PIL import Image, UnidentifiedImageError

from ..errors import AtomtuneError, did_you_mean
from ..runtime.progress import Events
from ..runtime.units import counted
from .decode import decode, pixel_limit
from .heic import HeicSupportMissing
from .masks import is_mask

SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"),
        *(".heic", ".heif", ".hif"),
    }
)
FEWEST, MOST = 4, 9  # images of a concept, as in the paper and in DreamBooth

_JUNK = frozenset(
    {
        *(".atomtune-captions.json", ".atomtune-files", ".ds_store", ".localized", "desktop.ini", "ehthumbs.db"),
        "thumbs.db",
    }
)
_SHOWN = 10  # names in one warning
_TOGETHER = 4  # files that are decoded at a time, at most

Read = TypeVar("Read")


def find_images(folder: Path) -> tuple[list[Path], list[str]]:
    """Images by suffix, sorted, and the names of other files, without captions, masks and the operating system's files.

    Raises AtomtuneError where the folder is missing or has no images.
    """
    hint = f"put {FEWEST} to {MOST} images of the concept into {folder}, or name a folder with --images"
    if not folder.is_dir():
        beside = [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
        raise AtomtuneError(f"there is no folder {folder}{did_you_mean(folder.name, beside)}", hint)
    images, others = [], []
    for path in sorted(folder.iterdir()):
        is_hidden, suffix = path.name.startswith("."), path.suffix.lower()
        if suffix in SUFFIXES and not is_hidden and path.is_file():
            if not is_mask(path):
                images.append(path)
        elif path.name.lower() not in _JUNK and not path.name.startswith("._"):
            others.append(path)
    if not images:
        found = f": {listed(map(name_of, others))}" if others else ""
        raise AtomtuneError(f"there are no images in {folder}{found}", hint)
    stems = {path.stem for path in images}
    is_caption = {path: path.suffix.lower() == ".txt" and path.stem in stems and path.is_file() for path in others}
    return images, [name_of(path) for path in others if not is_caption[path]]


def read_all(folder: Path, events: Events, read: Callable[[Path], Read]) -> list[Read]:
    """Call `read` on every image of a folder, on several at a time, in threads.

    Raises AtomtuneError that names all images for which it fails.
    """
    paths, others = find_images(folder)
    if others:
        events.warn(f"skipped in {folder}: {listed(others)}")
    events.phase(f"reading {counted(len(paths), 'image')}")

    def attempt(path: Path) -> tuple[Read | None, Exception | None]:
        try:
            return read(path), None
        except Exception as problem:  # the decoders raise nearly anything for a broken file
            return None, problem

    images: list[Read] = []
    broken, unsupported_heic = [], []
    pool = ThreadPoolExecutor(min(_TOGETHER, os.cpu_count() or 1, len(paths)))
    try:
        for path, (image, problem) in zip(paths, pool.map(attempt, paths), strict=True):
            if problem is None:
                images.append(image)  # type: ignore[arg-type]
            elif isinstance(problem, HeicSupportMissing):
                unsupported_heic.append(problem)
                broken.append(f"{name_of(path)} (HEIC)")
            else:
                broken.append(f"{name_of(path)} ({_reason(problem)})")
    finally:
        pool.shutdown(cancel_futures=True)
    if broken:
        hints = [f"for HEIC: {unsupported_heic[0].hint}"] if unsupported_heic else []
        hints += ["remove or replace them"] if len(broken) > len(unsupported_heic) else []
        raise AtomtuneError(
            f"cannot read {len(broken)} of {counted(len(paths), 'image')} in {folder}: {', '.join(broken)}",
            "; ".join(hints),
        )
    return images


def read_whole(path: Path, least: int) -> Image.Image:
    """One image, upright and RGB; see `decode` for `least`. Raises AtomtuneError where it cannot be read."""
    try:
        return decode(path, least)[0]
    except HeicSupportMissing:
        raise
    except Exception as problem:  # the decoders raise nearly anything for a broken file
        raise AtomtuneError(f"cannot read {name_of(path)} ({_reason(problem)})", "remove or replace it") from None


def load_whole_images(folder: Path, least: int, events: Events | None = None) -> list[tuple[Path, Image.Image]]:
    """The images of a folder, upright and RGB, in the order of their names; see `decode` for `least`.

    Raises as `read_all`.
    """
    return read_all(folder, events or Events(), lambda path: (path, decode(path, least)[0]))


def _reason(problem: Exception) -> str:
    if isinstance(problem, UnidentifiedImageError):
        return "not an image, or of an unknown format"
    if isinstance(problem, Image.DecompressionBombWarning | Image.DecompressionBombError):
        return f"more than {pixel_limit():,} pixels"
    text = getattr(problem, "strerror", None) or str(problem)
    return (text.strip().splitlines() or [type(problem).__name__])[0]


def name_of(path: Path) -> str:
    """A file's or folder's name for a message."""
    name = path.name if path.name.isprintable() else ascii(path.name)
    return f"{name}/" if path.is_dir() else name


def listed(names: Iterable[str]) -> str:
    """Names for a message, of very many the first ones."""
    names = list(names)
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest
