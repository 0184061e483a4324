"""What is done to an image before an encoder sees it: said in words and done by the same object."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Triple = tuple[float, float, float]

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION: Triple = (0.229, 0.224, 0.225)
CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION: Triple = (0.26862954, 0.26130258, 0.27577711)
HALF: Triple = (0.5, 0.5, 0.5)

_STATISTICS = {
    (IMAGENET_MEAN, IMAGENET_DEVIATION): "ImageNet mean and deviation",
    (CLIP_MEAN, CLIP_DEVIATION): "CLIP mean and deviation",
    (HALF, HALF): "values from -1 to 1",
}
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True)
class Preprocessing:
    """Resize with antialiasing (Pillow), crop the centre, normalise.

    Attributes:
        resize: pixels of the shortest side after resizing; of both sides where `squash`.
        crop: side of the square that is cut out of the middle, at most `resize`.
        mean, deviation: by channel, of values from 0 to 1.
        squash: resize to a square, whatever the image's shape.
        odd_margin: where the crop goes if one pixel more must be left out on one side than on the other: transformers
            rounds half the margin down, torchvision to the even number.
    """

    resize: int
    crop: int
    mean: Triple
    deviation: Triple
    filter: Literal["bicubic", "bilinear"] = "bicubic"
    squash: bool = False
    odd_margin: Literal["down", "even"] = "even"

    def __post_init__(self) -> None:
        if not 0 < self.crop <= self.resize:
            raise ValueError(f"cannot cut {self.crop} pixels out of {self.resize}")

    def __str__(self) -> str:
        sides = "both sides" if self.squash else "shortest side"
        crop = "" if self.squash and self.crop == self.resize else f", centre crop {self.crop}"
        numbers = _STATISTICS.get((self.mean, self.deviation), f"mean {self.mean}, deviation {self.deviation}")
        return f"{sides} {self.resize} px {self.filter}{crop}, {numbers}"

    def __call__(self, images: Sequence[Image.Image]) -> Tensor:
        """Images of any sizes as the encoder wants them: (n, 3, crop, crop), float32."""
        pixels = torch.from_numpy(np.stack([np.asarray(self._cropped(image)) for image in images]))
        values = pixels.permute(0, 3, 1, 2).float() / 255
        return (values - _by_channel(self.mean)) / _by_channel(self.deviation)

    def _cropped(self, image: Image.Image) -> Image.Image:
        image = image.convert("RGB")
        image = image.resize(self._size(*image.size), _FILTERS[self.filter])
        left, top = (self._margin(side - self.crop) for side in image.size)
        return image.crop((left, top, left + self.crop, top + self.crop))

    def _size(self, width: int, height: int) -> tuple[int, int]:
        if self.squash:
            return self.resize, self.resize
        short = min(width, height)
        return self.resize * width // short, self.resize * height // short

    def _margin(self, both: int) -> int:
        return both // 2 if self.odd_margin == "down" else round(both / 2)


def _by_channel(values: Triple) -> Tensor:
    return torch.tensor(values).view(3, 1, 1)
