"""The images of a concept's folder: found, read and cut to their shapes, with warnings about unusual ones."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from PIL import Image, UnidentifiedImageError

from ..errors import AtomtuneError, did_you_mean
from ..runtime.progress import Events
from ..runtime.units import counted
from .crop import Place, check_crop, fitted, offset, place_of
from .decode import decode
from .heic import HeicSupportMissing
from .masks import is_mask, read_mask
from .shapes import Size, nearest_shape

SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"),
        *(".heic", ".heif", ".hif"),
    }
)
FEWEST, MOST = 4, 9  # images of a concept, as in the paper and in DreamBooth

_JUNK = frozenset(
    {".atomtune-captions.json", ".atomtune-files", ".ds_store", ".localized", "desktop.ini", "ehthumbs.db", "thumbs.db"}
)
_SHOWN = 10  # names in one warning

Read = TypeVar("Read")


@dataclass(frozen=True)
class TrainingImage:
    """One image of a concept, as it is trained on.

    Attributes:
        image: what is trained on, RGB.
        size: width and height of the whole image, upright, in pixels.
        digest: of the decoded pixels before cropping; equal for the same image under two names.
        mask: "L", of the size of `image`, 255 where the concept is; None where there is none, or it was not asked for.
        mask_digest: as `digest`, of the whole mask.
        place: where it was cut out.
    """

    path: Path
    image: Image.Image
    size: tuple[int, int]
    digest: str
    mask: Image.Image | None = None
    mask_digest: str = ""
    place: Place = (0.5, 0.5)

    @property
    def shape(self) -> Size:
        """Width and height of what is trained on."""
        return self.image.size

    @property
    def is_enlarged(self) -> bool:
        """Whether the whole image is smaller than what is trained on."""
        return any(whole < cut for whole, cut in zip(self.size, self.shape, strict=True))

    def conditioning(self, mirrored: bool = False) -> tuple[int, ...]:
        """SDXL's six numbers: height and width of the whole image, top and left of the cut, its height and width.

        See Podell et al. 2023 (arXiv 2307.01952), section 2.2.
        """
        (left, top), (width, height) = offset(self.size, self.shape, self.place), self.shape
        if mirrored:
            left = offset(self.size, self.shape, (1 - self.place[0], self.place[1]))[0]
        return self.size[1], self.size[0], top, left, height, width


def load_images(
    folder: Path,
    resolution: int,
    *,
    known: Sequence[Size] | None = None,
    crop: str = "center",
    seed: int = 0,
    masked: bool = False,
    usual: bool = True,
    events: Events | None = None,
) -> list[TrainingImage]:
    """The images of a folder, sorted by name. Only one at a time is in memory at its full size.

    Args:
        resolution: side of the square in pixels.
        known: the shapes that images are cut to, each to the nearest one; the square alone by default.
        crop: see `crop.place_of`; `seed` decides the random one.
        masked: read masks too, see `masks.read_mask`; some image must have one.
        usual: whether it is the folder of a concept, so that an unusual number of images is worth a warning.
        events: warned of skipped files, duplicates, small images, and of fewer or more images than usual.

    Raises AtomtuneError where the folder is missing or empty, or files cannot be decoded whole (all of them are named),
    UsageError as `check_crop`.
    """
    events = events or Events()
    check_crop(crop)
    shapes = known or [(resolution, resolution)]

    def cut(path: Path) -> TrainingImage:
        # twice the resolution leaves the scaling to a good filter
        whole, size = decode(path, 2 * resolution)
        shape = nearest_shape(size, shapes)
        place = place_of(whole, crop, seed, path.name, shape)
        image = TrainingImage(path, fitted(whole, shape, place), size, pixel_digest(whole), place=place)
        mask = read_mask(path, whole, 2 * resolution) if masked else None
        if mask is None:
            return image
        return replace(image, mask=fitted(mask, shape, place), mask_digest=pixel_digest(mask))

    images = _read_all(folder, events, cut)
    for warning in image_warnings(images, usual):
        events.warn(warning)
    if masked:
        _check_masks(folder, images, events)
    return images


def _check_masks(folder: Path, images: Sequence[TrainingImage], events: Events) -> None:
    without = [image.path.name for image in images if image.mask is None]
    if len(without) == len(images):
        raise AtomtuneError(
            f"no image in {folder} has a mask",
            "put 01.mask.png beside 01.jpg, white where the concept is: atomtune mask makes them",
        )
    if without:
        events.warn(f"without a mask, so all of it is learned: {_listed(without)}")
    empty = [image.path.name for image in images if image.mask is not None and not image.mask.getbbox()]
    if empty:
        raise AtomtuneError(
            f"what is trained on holds nothing of the mask: {_listed(empty)}",
            "--crop smart or another cut of the image shows the concept",
        )


def load_whole_images(folder: Path, least: int, events: Events | None = None) -> list[tuple[Path, Image.Image]]:
    """The images of a folder, upright and RGB, in the order of their names; see `decode` for `least`.

    Raises as `load_images`.
    """
    return _read_all(folder, events or Events(), lambda path: (path, decode(path, least)[0]))


def read_whole(path: Path, least: int) -> Image.Image:
    """One image, upright and RGB; see `decode` for `least`. Raises AtomtuneError where it cannot be read."""
    try:
        return decode(path, least)[0]
    except HeicSupportMissing:
        raise
    except Exception as problem:  # the decoders raise nearly anything for a broken file
        raise AtomtuneError(f"cannot read {_name(path)} ({_reason(problem)})", "remove or replace it") from None


def _read_all(folder: Path, events: Events, read: Callable[[Path], Read]) -> list[Read]:
    """Call `read` on every image of a folder. Raises AtomtuneError that names all images for which it fails."""
    paths, others = find_images(folder)
    if others:
        events.warn(f"skipped in {folder}: {_listed(others)}")
    events.phase(f"reading {counted(len(paths), 'image')}")
    images, broken, unsupported_heic = [], [], []
    for path in paths:
        try:
            images.append(read(path))
        except HeicSupportMissing as problem:
            unsupported_heic.append(problem)
            broken.append(f"{_name(path)} (HEIC)")
        except Exception as problem:  # the decoders raise nearly anything for a broken file
            broken.append(f"{_name(path)} ({_reason(problem)})")
    if broken:
        hints = [f"for HEIC: {unsupported_heic[0].hint}"] if unsupported_heic else []
        hints += ["remove or replace them"] if len(broken) > len(unsupported_heic) else []
        raise AtomtuneError(
            f"cannot read {len(broken)} of {counted(len(paths), 'image')} in {folder}: {', '.join(broken)}",
            "; ".join(hints),
        )
    return images


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
        found = f": {_listed(map(_name, others))}" if others else ""
        raise AtomtuneError(f"there are no images in {folder}{found}", hint)
    stems = {path.stem for path in images}
    is_caption = {path: path.suffix.lower() == ".txt" and path.stem in stems and path.is_file() for path in others}
    return images, [_name(path) for path in others if not is_caption[path]]


def image_warnings(images: Sequence[TrainingImage], usual: bool = True) -> list[str]:
    """Warnings about images: duplicates, small ones, an unusual number of them; `usual` as for `load_images`."""
    found = [
        f"the same image {counted(len(group), 'time')}: {_listed(_name(image.path) for image in group)}"
        for group in duplicates(images)
    ]
    small = [f"{_name(i.path)} ({i.size[0]}×{i.size[1]})" for i in images if i.is_enlarged]
    if small:
        found.append(f"smaller than what is trained on and enlarged: {_listed(small)}")
    if usual and not FEWEST <= len(images) <= MOST:
        found.append(f"{counted(len(images), 'image')} in {images[0].path.parent}: {FEWEST} to {MOST} work best")
    return found


def duplicates(images: Sequence[TrainingImage]) -> list[list[TrainingImage]]:
    """Groups of two or more images with the same pixels."""
    groups: dict[str, list[TrainingImage]] = {}
    for image in images:
        groups.setdefault(image.digest, []).append(image)
    return [group for group in groups.values() if len(group) > 1]


def pixel_digest(image: Image.Image) -> str:
    """32 hex digits of an image's pixels and size, the same for every file format."""
    return hashlib.blake2b(image.tobytes(), digest_size=16, person=b"%dx%d" % image.size).hexdigest()


def _reason(problem: Exception) -> str:
    if isinstance(problem, UnidentifiedImageError):
        return "not an image, or of an unknown format"
    if isinstance(problem, Image.DecompressionBombWarning | Image.DecompressionBombError):
        return f"more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    text = getattr(problem, "strerror", None) or str(problem)
    return (text.strip().splitlines() or [type(problem).__name__])[0]


def _name(path: Path) -> str:
    name = path.name if path.name.isprintable() else ascii(path.name)
    return f"{name}/" if path.is_dir() else name


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest
