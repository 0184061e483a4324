"""What one micro-batch is made of, on the device, at an address that may stay."""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from ..conditioning import Embeddings, Tokens
from .batches import Batch


@dataclass(frozen=True)
class Inputs:
    """A micro-batch on the device.

    Attributes:
        latents, noise: (b, c, h, w), float32; timesteps: (b,).
        condition: the captions' embeddings, or their tokens where text encoders learn.
    """

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    condition: Embeddings | Tokens

    @classmethod
    def of(cls, batch: Batch, condition: Any, device: torch.device) -> Self:
        """A drawn batch and the condition of each of its examples, on the device."""
        latents, noise, timesteps = (
            x.to(device, non_blocking=True) for x in (batch.latents, batch.noise, batch.timesteps)
        )
        return cls(latents, noise, timesteps, condition)

    def tensors(self) -> list[Tensor]:
        """All that it holds."""
        return [self.latents, self.noise, self.timesteps, *self.condition.tensors()]

    def held(self) -> Self:
        """A copy with memory of its own."""
        return type(self)(self.latents.clone(), self.noise.clone(), self.timesteps.clone(), self.condition.held())

    def take(self, other: Self) -> None:
        """Take over another's values, which must have the same shapes."""
        for mine, theirs in zip(self.tensors(), other.tensors(), strict=True):
            if mine.shape != theirs.shape:
                raise ValueError(f"a micro-batch of {tuple(theirs.shape)} in the place of one of {tuple(mine.shape)}")
            mine.copy_(theirs, non_blocking=True)
