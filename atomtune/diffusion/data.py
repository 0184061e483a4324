"""The concept's images, and what training needs of them: latents, computed once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..errors import AtomtuneError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})


@dataclass(frozen=True)
class TrainingImage:
    """One picture of the concept, cropped to a square and scaled to the training resolution, RGB."""

    path: Path
    image: Image.Image


def load_images(folder: Path, resolution: int) -> list[TrainingImage]:
    """The pictures of a folder in the order of their names, hidden files apart.

    Raises AtomtuneError where the folder is missing or empty, or pictures cannot be decoded (all of them are named).
    """
    hint = f"put 4 to 9 pictures of the concept into {folder}, or name a folder with --images"
    if not folder.is_dir():
        raise AtomtuneError(f"there is no folder {folder}", hint)
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not paths:
        raise AtomtuneError(f"there are no pictures in {folder}", hint)
    images, broken = [], []
    for path in paths:
        try:
            with Image.open(path) as opened:
                images.append(TrainingImage(path, square(opened, resolution)))
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
            broken.append(f"{path.name} ({str(problem).splitlines()[0] if str(problem) else type(problem).__name__})")
    if broken:
        raise AtomtuneError(
            f"cannot read {len(broken)} of {len(paths)} pictures in {folder}: {', '.join(broken)}",
            "remove or replace them",
        )
    return images


def square(image: Image.Image, side: int) -> Image.Image:
    """Turn as EXIF says, lay transparency on white, crop the centre square and scale it to `side` pixels, RGB."""
    turned = ImageOps.exif_transpose(image)
    if "A" in turned.getbands() or "transparency" in turned.info:
        layer = turned.convert("RGBA")
        turned = Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer)
    return ImageOps.fit(turned.convert("RGB"), (side, side), Image.Resampling.LANCZOS)


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """RGB pictures of one size → (n, 3, h, w), float32 in -1..1."""
    stack = np.stack([np.asarray(image, dtype=np.float32) for image in images])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous() / 127.5 - 1.0


@dataclass(frozen=True)
class Latents:
    """What the VAE says of each picture: mean and standard deviation of its latents, (n, c, h, w) each, scaled."""

    mean: Tensor
    std: Tensor

    def draw(self, index: int, generator: torch.Generator) -> Tensor:
        """One latent sample of one picture, (c, h, w)."""
        noise = torch.randn(self.mean.shape[1:], generator=generator)
        return self.mean[index] + self.std[index] * noise


@torch.no_grad()
def encode_latents(vae: Any, images: Sequence[Image.Image], batch: int = 4) -> Latents:
    """Encode pictures, a few at a time, on the VAE's device; the result is on the CPU in float32."""
    parts = []
    for first in range(0, len(images), batch):
        pixels = to_tensor(images[first : first + batch]).to(vae.device, vae.dtype)
        parts.append(vae.encode(pixels).latent_dist)
    factor, shift = vae.config.scaling_factor, vae.config.shift_factor or 0.0
    mean = torch.cat([part.mean for part in parts]).float().cpu()
    std = torch.cat([part.std for part in parts]).float().cpu()
    return Latents((mean - shift) * factor, std * factor)
