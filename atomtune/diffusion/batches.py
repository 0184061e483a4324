"""What each step of a run sees: pictures, noise and timesteps, all derived from (seed, step)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .data import Latents
from .seeds import derived_generator


@dataclass(frozen=True)
class Batch:
    """Latents and noise (b, c, h, w) in float32, timesteps (b,), on the CPU."""

    latents: Tensor
    noise: Tensor
    timesteps: Tensor


@dataclass(frozen=True)
class Batches:
    """Draws batches. Example g of step s is the same whatever the number of processes that share the step.

    Every picture is seen once before any is seen again, in an order that differs each time.

    Attributes:
        latents: of every picture; where `flip` is set, those of the mirrored pictures follow in the second half.
        timesteps: training timesteps of the noise schedule.
        size: examples in a step on all processes together.
    """

    latents: Latents
    flip: bool
    timesteps: int
    size: int
    seed: int

    def draw(self, step: int, first: int = 0, count: int | None = None) -> Batch:
        """Examples first, …, first + count − 1 of a step; all of them by default."""
        parts = [self._example(step, first + i) for i in range(self.size if count is None else count)]
        latents, noise, timesteps = zip(*parts, strict=True)
        return Batch(torch.stack(latents), torch.stack(noise), torch.tensor(timesteps))

    def _example(self, step: int, place: int) -> tuple[Tensor, Tensor, int]:
        images = self.latents.mean.shape[0] // (2 if self.flip else 1)
        epoch, turn = divmod(step * self.size + place, images)
        order = torch.randperm(images, generator=derived_generator(self.seed, "order", epoch))
        generator = derived_generator(self.seed, "example", step, place)
        index = int(order[turn])
        if self.flip and int(torch.randint(2, (), generator=generator)):
            index += images
        latent = self.latents.draw(index, generator)
        noise = torch.randn(latent.shape, generator=generator)
        return latent, noise, int(torch.randint(self.timesteps, (), generator=generator))
