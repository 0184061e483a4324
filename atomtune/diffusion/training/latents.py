"""What training needs of pictures: latents, computed once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


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
def encode_latents(vae: Any, images: Iterable[Image.Image], batch: int = 4) -> Latents:
    """Encode pictures, a few at a time, on the VAE's device; the result is on the CPU in float32."""
    means, stds = [], []
    remaining = iter(images)
    while some := list(islice(remaining, batch)):
        answer = vae.encode(to_tensor(some).to(vae.device, vae.dtype)).latent_dist
        means.append(answer.mean.float().cpu())
        stds.append(answer.std.float().cpu())
    factor, shift = vae.config.scaling_factor, vae.config.shift_factor or 0.0
    return Latents((torch.cat(means) - shift) * factor, torch.cat(stds) * factor)
