"""The images of a concept's folder as they are trained on: cut to their shapes, with warnings about unusual ones."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from ..errors import AtomtuneError
from ..runtime.progress import Events
from ..runtime.units import counted
from .crop import Place, check_crop, fitted, offset, place_of
from .decode import decode
from .image_files import FEWEST, MOST, find_images, listed, name_of, read_all
from .likeness import Fingerprint, fingerprint, near
from .masks import overlaid, read_mask
from .shapes import Size, nearest_shape

KEPT = 64
"""Images of a folder up to which their cuts stay in memory; of more they are read again when they are needed."""


@dataclass(frozen=True)
class Cut:
    """What is trained on of an image: RGB, and its mask ("L", of the same size), where there is one."""

    image: Image.Image
    mask: Image.Image | None


@dataclass(frozen=True)
class TrainingImage:
    """One image of a concept, as it is trained on.

    Attributes:
        size: width and height of the whole image, upright, in pixels; shape: of what is trained on.
        digest: of the decoded pixels before cropping; equal for the same image under two names. Empty where it was only
            looked at and no other one is nearly the same.
        looks: what it looks like from afar.
        has_mask: whether its mask was asked for, and it has one; mask_digest: as `digest`, of the whole mask.
        is_masked_out: whether nothing of the mask is in what is trained on.
        place: where it was cut out.
        least: see `decode`.
        kept: what is trained on; None where it is to be read again.
        thumbnail: a small copy of it, to look at, with what a mask leaves out dimmed; where one was asked for.
    """

    path: Path
    size: Size
    shape: Size
    digest: str
    looks: Fingerprint
    least: int
    has_mask: bool = False
    mask_digest: str = ""
    is_masked_out: bool = False
    place: Place = (0.5, 0.5)
    kept: Cut | None = field(default=None, repr=False, compare=False)
    thumbnail: Image.Image | None = field(default=None, repr=False, compare=False)

    @property
    def image(self) -> Image.Image:
        """What is trained on, RGB; read again where it is not kept."""
        return self.cut().image

    @property
    def mask(self) -> Image.Image | None:
        """Its mask, "L", 255 where the concept is; None where there is none, or it was not asked for."""
        return self.cut().mask if self.has_mask else None

    def cut(self) -> Cut:
        """Both. Raises as `decode` where the file has gone or is broken now."""
        if self.kept is not None:
            return self.kept
        whole = decode(self.path, self.least)[0]
        mask = read_mask(self.path, whole, self.least) if self.has_mask else None
        return _cut(whole, mask, self.shape, self.place)

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


def _cut(whole: Image.Image, mask: Image.Image | None, shape: Size, place: Place) -> Cut:
    return Cut(fitted(whole, shape, place), None if mask is None else fitted(mask, shape, place))


def load_images(
    folder: Path,
    resolution: int,
    *,
    known: Sequence[Size] | None = None,
    crop: str = "center",
    seed: int = 0,
    masked: bool = False,
    usual: bool = True,
    thumbnail: int | None = None,
    events: Events | None = None,
) -> list[TrainingImage]:
    """The images of a folder, sorted by name. Only a few at a time are in memory at their full size.

    Args:
        resolution: side of the square in pixels.
        known: the shapes that images are cut to, each to the nearest one; the square alone by default.
        crop: see `crop.place_of`; `seed` decides the random one.
        masked: read masks too, see `masks.read_mask`; some image must have one.
        usual: whether it is the folder of a concept, so that an unusual number of images is worth a warning.
        thumbnail: the images are only looked at: they get thumbnails of at most this side, which takes less time, and
            keep nothing else.
        events: warned of skipped files, duplicates, small images, and of fewer or more images than usual.

    Raises AtomtuneError where the folder is missing or empty, or files cannot be decoded whole (all of them are named),
    UsageError as `check_crop`.
    """
    events = events or Events()
    check_crop(crop)
    shapes = known or [(resolution, resolution)]
    # twice the resolution leaves the scaling to a good filter
    least = 2 * resolution
    keeps = thumbnail is None and len(find_images(folder)[0]) <= KEPT

    def read(path: Path) -> TrainingImage:
        # where detail decides the place, it is looked for in what training sees
        whole, size = decode(path, least if thumbnail is None or crop == "smart" else min(least, 2 * thumbnail))
        shape = nearest_shape(size, shapes)
        image = TrainingImage(
            path,
            size,
            shape,
            pixel_digest(whole) if thumbnail is None else "",
            fingerprint(whole),
            least,
            place=place_of(whole, crop, seed, path.name, shape),
        )
        mask = read_mask(path, whole, least) if masked else None
        if mask is not None:
            digest = pixel_digest(mask) if thumbnail is None else ""
            nothing = not fitted(mask, shape, image.place).getbbox()
            image = replace(image, has_mask=True, mask_digest=digest, is_masked_out=nothing)
        if thumbnail is not None:
            scale = min(1.0, thumbnail / max(shape))
            small = _cut(whole, mask, (round(shape[0] * scale), round(shape[1] * scale)), image.place)
            return replace(image, thumbnail=overlaid(small.image, small.mask))
        return replace(image, kept=_cut(whole, mask, shape, image.place)) if keeps else image

    images = read_all(folder, events, read)
    if thumbnail is not None:
        images = _told_apart(images)
    for warning in image_warnings(images, usual):
        events.warn(warning)
    if masked:
        _check_masks(folder, images, events)
    return images


def _told_apart(images: list[TrainingImage]) -> list[TrainingImage]:
    """With digests where images are nearly the same: they may be just that."""
    asked = {number for pair in near([image.looks for image in images]) for number in pair}
    return [
        replace(image, digest=pixel_digest(decode(image.path, image.least)[0])) if number in asked else image
        for number, image in enumerate(images)
    ]


def _check_masks(folder: Path, images: Sequence[TrainingImage], events: Events) -> None:
    without = [image.path.name for image in images if not image.has_mask]
    if len(without) == len(images):
        raise AtomtuneError(
            f"no image in {folder} has a mask",
            "put 01.mask.png beside 01.jpg, white where the concept is: atomtune mask makes them",
        )
    if without:
        events.warn(f"without a mask, so all of it is learned: {listed(without)}")
    if empty := [image.path.name for image in images if image.is_masked_out]:
        raise AtomtuneError(
            f"what is trained on holds nothing of the mask: {listed(empty)}",
            "--crop smart or another cut of the image shows the concept",
        )


def image_warnings(images: Sequence[TrainingImage], usual: bool = True) -> list[str]:
    """Warnings about images: duplicates, small ones, an unusual number of them; `usual` as for `load_images`."""
    found = [
        f"the same image {len(group)} times: {listed(name_of(image.path) for image in group)}"
        for group in duplicates(images)
    ]
    alike = [f"{name_of(one.path)} and {name_of(other.path)}" for one, other in nearly_the_same(images)]
    if alike:
        found.append(f"nearly the same: {listed(alike)}")
    small = [f"{name_of(i.path)} ({i.size[0]}×{i.size[1]})" for i in images if i.is_enlarged]
    if small:
        found.append(f"smaller than what is trained on and enlarged: {listed(small)}")
    if usual and not FEWEST <= len(images) <= MOST:
        found.append(f"{counted(len(images), 'image')} in {images[0].path.parent}: {FEWEST} to {MOST} work best")
    return found


def duplicates(images: Sequence[TrainingImage]) -> list[list[TrainingImage]]:
    """Groups of two or more images with the same pixels."""
    groups: dict[str, list[TrainingImage]] = {}
    for image in images:
        if image.digest:
            groups.setdefault(image.digest, []).append(image)
    return [group for group in groups.values() if len(group) > 1]


def nearly_the_same(images: Sequence[TrainingImage]) -> list[tuple[TrainingImage, TrainingImage]]:
    """Pairs of images that look alike and have other pixels; each image is in one as the second at most."""
    pairs: dict[int, int] = {}
    for one, other in near([image.looks for image in images]):
        if images[one].digest != images[other].digest:
            pairs.setdefault(other, one)
    return [(images[one], images[other]) for other, one in sorted(pairs.items())]


def pixel_digest(image: Image.Image) -> str:
    """32 hex digits of an image's pixels and size, the same for every file format."""
    return hashlib.blake2b(image.tobytes(), digest_size=16, person=b"%dx%d" % image.size).hexdigest()
