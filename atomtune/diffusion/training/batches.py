"""What each step of a run sees: pictures, noise and timesteps, all derived from (seed, step)."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..seeds import derived_generator
from .latents import Latents
from .objective import offset_noise


@dataclass(frozen=True)
class Batch:
    """Latents and noise (b, c, h, w) in float32, timesteps and numbers of the captions (b,), on the CPU."""

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    captions: Tensor

    def __add__(self, other: "Batch") -> "Batch":
        pairs = ((getattr(self, part.name), getattr(other, part.name)) for part in fields(Batch))
        return Batch(*(torch.cat(pair) for pair in pairs))


@dataclass(frozen=True)
class Batches:
    """Draws batches. Example g of step s is the same whatever the number of processes that share the step.

    Every picture is seen once before any is seen again, in an order that differs each time.

    Attributes:
        latents: of every picture; where `flip` is set, those of the mirrored pictures follow in the second half.
        timesteps: training timesteps of the noise schedule.
        size: examples in a step on all processes together.
        noise_offset: strength of the noise that is constant over a channel.
        captions: number of each picture's caption; none where all pictures have the same.
    """

    latents: Latents
    flip: bool
    timesteps: int
    size: int
    seed: int
    noise_offset: float = 0.0
    captions: tuple[int, ...] = ()

    def draw(self, step: int, first: int = 0, count: int | None = None) -> Batch:
        """Examples first, …, first + count − 1 of a step; all of them by default."""
        parts = [self._example(step, first + i) for i in range(self.size if count is None else count)]
        latents, noise, timesteps, captions = zip(*parts, strict=True)
        return Batch(torch.stack(latents), torch.stack(noise), torch.tensor(timesteps), torch.tensor(captions))

    def _example(self, step: int, place: int) -> tuple[Tensor, Tensor, int, int]:
        images = self.latents.mean.shape[0] // (2 if self.flip else 1)
        epoch, turn = divmod(step * self.size + place, images)
        order = torch.randperm(images, generator=derived_generator(self.seed, "order", epoch))
        generator = derived_generator(self.seed, "example", step, place)
        index = int(order[turn])
        caption = self.captions[index] if self.captions else 0
        if self.flip and int(torch.randint(2, (), generator=generator)):
            index += images
        latent = self.latents.draw(index, generator)
        noise = torch.randn(latent.shape, generator=generator)
        timestep = int(torch.randint(self.timesteps, (), generator=generator))
        if self.noise_offset:
            noise = offset_noise(noise, self.noise_offset, generator)
        return latent, noise, timestep, caption
