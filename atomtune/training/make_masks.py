"""Make masks for the images of a concept, beside them, and a sheet to check them by."""

import math
from dataclasses import dataclass
from pathlib import Path

from ..data.contact_sheet import captioned_sheet
from ..data.foreground import foreground
from ..data.image_files import load_whole_images
from ..data.masks import MASK, mask_file, overlaid
from ..errors import UsageError
from ..files.output_folder import claim
from ..files.png import save_png
from ..runtime.progress import Events
from ..runtime.units import counted

_SHEET_SIDE = 448  # pixels of an image on the sheet, at most
_LEAST = 1024  # pixels of the short side of a photo that is read smaller than it is


@dataclass(frozen=True)
class MadeMask:
    """One mask.

    Attributes:
        covered: share of the image that it takes.
    """

    image: Path
    mask: Path
    covered: float


@dataclass(frozen=True)
class MadeMasks:
    """The masks of a folder, and the sheet that shows them."""

    sheet: Path
    masks: list[MadeMask]


def make_masks(
    images: Path,
    sheet: Path,
    *,
    by: str = "border",
    color: str | None = None,
    overwrite: bool = False,
    events: Events | None = None,
) -> MadeMasks:
    """Write NAME.mask.png beside every image of a folder, and a sheet of them.

    Args:
        sheet: file for the sheet, outside of `images`.
        by, color: see `foreground`.
        overwrite: replace masks that atomtune made before.

    Raises UsageError for masks that are there already, for those that atomtune did not make even with `overwrite`, and
    as `foreground`; AtomtuneError as `load_images`.
    """
    events = events or Events()
    found = load_whole_images(images, _LEAST, events)
    targets = [path.with_name(f"{path.stem}{MASK}.png") for path, _ in found]
    if len(set(targets)) < len(targets):
        raise UsageError(f"two images in {images} differ in their ending alone", "rename one of them")
    there = [*filter(None, (mask_file(path) for path, _ in found)), *([sheet] if sheet.exists() else [])]
    if there and not overwrite:
        raise UsageError(f"{there[0]} is there already", "--overwrite replaces masks that atomtune made")
    if others := [mask for mask in there if mask != sheet and mask not in targets]:
        raise UsageError(f"{others[0].name} is a mask that atomtune did not make", "move it away, or keep it")
    events.phase(f"making {counted(len(found), 'mask')}")
    masks = [foreground(image, by, color) for _, image in found]
    claim(sheet.parent, [sheet.name])
    claim(images, [target.name for target in targets])
    shown, labels, made = [], [], []
    for (path, image), target, mask in zip(found, targets, masks, strict=True):
        save_png(target, mask)
        covered = round(sum(n * value for value, n in enumerate(mask.histogram())) / 255 / mask.width / mask.height, 3)
        made.append(MadeMask(path, target, covered))
        small = overlaid(image, mask)
        small.thumbnail((_SHEET_SIDE, _SHEET_SIDE))
        shown.append(small)
        labels.append((path.name, f"{covered:.0%} of it"))
        if not 0.02 <= covered <= 0.9:
            events.warn(f"the mask of {path.name} takes {covered:.0%} of the image: look at {sheet}")
    save_png(sheet, captioned_sheet(shown, labels, max(min(len(found), 5), math.isqrt(len(found) - 1) + 1)))
    return MadeMasks(sheet, made)
