"""Masks: where in an image the concept is, so that the loss counts there and the background is not learned.

A mask is a grey image beside the image (01.mask.png of 01.jpg), white where the concept is; or, where there is none,
the image's own transparency.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..errors import AtomtuneError
from ..runtime.units import counted
from .decode import alpha_of, decode

MASK = ".mask"
"""Ends the stem of a mask's file."""

_HINT = "a mask is a grey image of the same shape, white where the concept is"


def is_mask(path: Path) -> bool:
    """Whether a file is called as a mask is, 01.mask.png."""
    return path.stem.lower().endswith(MASK)


def mask_file(image: Path) -> Path | None:
    """The file with the mask of an image; None where there is none.

    Raises AtomtuneError where there are several.
    """
    found = sorted(path for path in image.parent.glob("*.[mM][aA][sS][kK].*") if path.stem[: -len(MASK)] == image.stem)
    if len(found) > 1:
        raise AtomtuneError(
            f"{image.name} has {counted(len(found), 'mask')}: {', '.join(path.name for path in found)}",
            "remove all but one",
        )
    return found[0] if found else None


def read_mask(image: Path, whole: Image.Image, least: int) -> Image.Image | None:
    """The mask of an image in the size of `whole`, its decoded pixels: "L", 255 where the concept is.

    Args:
        least: as for `decode`.

    Returns None where there is no file for it, and the image is not transparent anywhere.

    Raises AtomtuneError for a mask of another shape and for one that is black everywhere, ValueError or OSError for a
    file that is no image.
    """
    path = mask_file(image)
    if path is None:
        mask = alpha_of(image)
        if mask is None or mask.getextrema()[0] == 255:
            return None
    else:
        mask = decode(path, least)[0].convert("L")
        if abs(mask.width * whole.height - mask.height * whole.width) > max(*mask.size, *whole.size):
            raise AtomtuneError(
                f"{path.name} has the shape {mask.width}×{mask.height}, {image.name} {whole.width}×{whole.height}",
                _HINT,
            )
    if mask.getextrema()[1] == 0:
        raise AtomtuneError(f"the mask of {image.name} is black everywhere", _HINT)
    return mask if mask.size == whole.size else mask.resize(whole.size, Image.Resampling.BOX)


def latent_weights(masks: Sequence[Image.Image | None], height: int, width: int, floor: float) -> Tensor:
    """Weights of the loss on the latents' grid, (n, 1, height, width) float32 in floor..1; 1 where there is no mask.

    The mean of the mask over what a latent stands for.

    Args:
        masks: "L", of the images as they are trained on.
        floor: the least weight, of what is outside.
    """
    weights = torch.ones(len(masks), 1, height, width)
    for number, mask in enumerate(masks):
        if mask is not None:
            values = torch.from_numpy(np.array(mask, dtype=np.float32))[None, None] / 255.0
            weights[number] = F.interpolate(values, size=(height, width), mode="area")[0]
    return weights.clamp(min=floor)


def overlaid(image: Image.Image, mask: Image.Image | None) -> Image.Image:
    """An image with what its mask leaves out dimmed, to look at."""
    if mask is None:
        return image
    dimmed = Image.blend(image, Image.new("RGB", image.size, (255, 0, 255)), 0.65)
    return Image.composite(image, dimmed, mask)
