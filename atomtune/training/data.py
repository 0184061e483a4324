"""Training data: the images' latents, computed once, and the batches drawn from them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import UsageError
from ..models.conditioning import Embeddings, Tokens
from ..runtime.seeds import derived_generator
from .loss import offset_noise
from .loss_options import timestep_range


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """RGB images of one size → (n, 3, h, w), float32 in -1..1."""
    stack = np.stack([np.asarray(image, dtype=np.float32) for image in images])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous() / 127.5 - 1.0


@dataclass(frozen=True)
class Latents:
    """The VAE's posterior of each image: mean and standard deviation of the latents, (n, c, h, w) each, scaled.

    Attributes:
        weights: of the loss, (n, 1, h, w), see `data.masks`; None where all of every image counts.
        sizes: SDXL's six numbers, (n, 6), see `TrainingImage.conditioning`; None where they are those of the square.
    """

    mean: Tensor
    std: Tensor
    weights: Tensor | None = None
    sizes: Tensor | None = None

    def draw(self, index: int, generator: torch.Generator) -> Tensor:
        """One latent sample of one image, (c, h, w)."""
        noise = torch.randn(self.mean.shape[1:], generator=generator)
        return self.mean[index] + self.std[index] * noise


@torch.no_grad()
def encode_latents(vae: Any, images: Iterable[Image.Image], batch: int = 4) -> Latents:
    """Encode images, a few at a time, on the VAE's device; the result is on the CPU in float32."""
    means, stds = [], []
    remaining = iter(images)
    while some := list(islice(remaining, batch)):
        answer = vae.encode(to_tensor(some).to(vae.device, vae.dtype)).latent_dist
        means.append(answer.mean.float().cpu())
        stds.append(answer.std.float().cpu())
    factor, shift = vae.config.scaling_factor, vae.config.shift_factor or 0.0
    return Latents((torch.cat(means) - shift) * factor, torch.cat(stds) * factor)


@dataclass(frozen=True)
class Batch:
    """Latents and noise (b, c, h, w) in float32, timesteps and numbers of the captions (b,), on the CPU.

    Attributes:
        weights: of the loss, (b, 1, h, w); None where they are 1.
        sizes: SDXL's six numbers, (b, 6); None where they are those of the square.
    """

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    captions: Tensor
    weights: Tensor | None = None
    sizes: Tensor | None = None

    def __add__(self, other: "Batch") -> "Batch":
        weights = None
        if self.weights is not None or other.weights is not None:
            weights = torch.cat((self._weights(), other._weights()))
        names = ("latents", "noise", "timesteps", "captions")
        latents, noise, timesteps, captions = (torch.cat((getattr(self, name), getattr(other, name))) for name in names)
        sizes = None if self.sizes is None or other.sizes is None else torch.cat((self.sizes, other.sizes))
        return Batch(latents, noise, timesteps, captions, weights, sizes)

    def __getitem__(self, chosen: slice) -> "Batch":
        parts = (self.latents, self.noise, self.timesteps, self.captions, self.weights, self.sizes)
        return Batch(*(None if part is None else part[chosen] for part in parts))  # type: ignore[arg-type]

    def _weights(self) -> Tensor:
        return torch.ones_like(self.latents[:, :1]) if self.weights is None else self.weights


@dataclass(frozen=True)
class Batches:
    """Draws batches. Example g of step s is the same whatever the number of processes that share the step.

    Every image is seen once (or as often as `repeats` says) before any is seen again, in an order that differs each
    time.

    Attributes:
        latents: of every image; where `flip` is set, those of the mirrored images follow in the second half.
        timesteps: training timesteps of the noise schedule.
        size: examples in a step on all processes together.
        noise_offset: standard deviation of the noise that is constant over a channel.
        captions: numbers of each image's captions, one of which is drawn; none where all images have the same one.
        dropped: number of the empty prompt and how often it takes the place of a caption; None for never.
        sampling: which timesteps are drawn, see `LossOptions.timesteps`.
        repeats: how often each image is shown where another one is shown once; none where all are shown equally often.
    """

    latents: Latents
    flip: bool
    timesteps: int
    size: int
    seed: int
    noise_offset: float = 0.0
    captions: tuple[tuple[int, ...], ...] = ()
    dropped: tuple[int, float] | None = None
    sampling: str = "uniform"
    repeats: tuple[int, ...] = ()

    @cached_property
    def _turns(self) -> list[int]:
        """The images of an epoch, each as often as it is shown."""
        count = self.latents.mean.shape[0] // (2 if self.flip else 1)
        return [index for index, times in enumerate(self.repeats or (1,) * count) for _ in range(times)]

    def draw(self, step: int, first: int = 0, count: int | None = None) -> Batch:
        """Examples first, …, first + count − 1 of a step; all of them by default."""
        parts = [self._example(step, first + i) for i in range(self.size if count is None else count)]
        latents, noise, timesteps, captions, indices = zip(*parts, strict=True)
        weights, sizes = (
            None if values is None else values[list(indices)] for values in (self.latents.weights, self.latents.sizes)
        )
        numbers = torch.tensor(timesteps), torch.tensor(captions)
        return Batch(torch.stack(latents), torch.stack(noise), *numbers, weights, sizes)

    def changed(self, **changes: Any) -> Self:
        """With other fields."""
        return replace(self, **changes)

    def _example(self, step: int, place: int) -> tuple[Tensor, Tensor, int, int, int]:
        turns = self._turns
        epoch, turn = divmod(step * self.size + place, len(turns))
        order = torch.randperm(len(turns), generator=derived_generator(self.seed, "order", epoch))
        generator = derived_generator(self.seed, "example", step, place)
        index = turns[int(order[turn])]
        caption = self._caption(index, step, place)
        if self.flip and int(torch.randint(2, (), generator=generator)):
            index += self.latents.mean.shape[0] // 2
        latent = self.latents.draw(index, generator)
        noise = torch.randn(latent.shape, generator=generator)
        timestep = drawn_timestep(self.sampling, self.timesteps, generator)
        if self.noise_offset:
            noise = offset_noise(noise, self.noise_offset, generator)
        return latent, noise, timestep, caption, index

    def _caption(self, index: int, step: int, place: int) -> int:
        choices = self.captions[index] if self.captions else (0,)
        generator = derived_generator(self.seed, "caption", step, place)
        caption = choices[int(torch.randint(len(choices), (), generator=generator))] if len(choices) > 1 else choices[0]
        if self.dropped is not None and float(torch.rand((), generator=generator)) < self.dropped[1]:
            return self.dropped[0]
        return caption


def drawn_timestep(sampling: str, timesteps: int, generator: torch.Generator) -> int:
    """A timestep of 0..timesteps − 1: uniform, logit-normal (Esser et al. 2024, arXiv 2403.03206), or of a range."""
    if sampling == "logit-normal":
        return min(int(torch.randn((), generator=generator).sigmoid() * timesteps), timesteps - 1)
    first, last = timestep_range(sampling) or (0, timesteps - 1)
    last = min(last, timesteps - 1)
    if first > last:
        raise UsageError(f"--timesteps {sampling}: the model has {timesteps}, from 0 on", "as in --timesteps 200-800")
    return first + int(torch.randint(last - first + 1, (), generator=generator))


@dataclass(frozen=True)
class Inputs:
    """A micro-batch on the device.

    Attributes:
        latents, noise: (b, c, h, w), float32; timesteps: (b,).
        condition: the captions' embeddings, or their tokens where text encoders are trained.
        preserved: how many examples, the last ones, are the extra rows of preservation.
        weights: of the loss, (b, 1, h, w); None where they are 1.
        sizes: SDXL's six numbers, (b, 6); None where they are those of the square.
    """

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    condition: Embeddings | Tokens
    preserved: int = 0
    weights: Tensor | None = None
    sizes: Tensor | None = None

    @classmethod
    def of(cls, batch: Batch, condition: Any, device: torch.device, preserved: int = 0) -> Self:
        """A drawn batch and the condition of each of its examples, on the device."""
        latents, noise, timesteps = (
            x.to(device, non_blocking=True) for x in (batch.latents, batch.noise, batch.timesteps)
        )
        weights, sizes = (None if x is None else x.to(device, non_blocking=True) for x in (batch.weights, batch.sizes))
        return cls(latents, noise, timesteps, condition, preserved, weights, sizes)

    def tensors(self) -> list[Tensor]:
        """All that it holds."""
        more = [tensor for tensor in (self.weights, self.sizes) if tensor is not None]
        return [self.latents, self.noise, self.timesteps, *more, *self.condition.tensors()]

    def held(self) -> Self:
        """A copy with memory of its own."""
        copies = (self.latents.clone(), self.noise.clone(), self.timesteps.clone(), self.condition.clone())
        more = (None if tensor is None else tensor.clone() for tensor in (self.weights, self.sizes))
        return type(self)(*copies, self.preserved, *more)

    @property
    def kind(self) -> tuple[int, ...]:
        """What differs between micro-batches of one run: their shape and the extra rows of preservation."""
        return self.preserved, *self.latents.shape

    def take(self, other: Self) -> None:
        """Copy the values of another one, which must have the same shapes."""
        for mine, theirs in zip(self.tensors(), other.tensors(), strict=True):
            if mine.shape != theirs.shape:
                raise ValueError(f"a micro-batch of {tuple(theirs.shape)} in the place of one of {tuple(mine.shape)}")
            mine.copy_(theirs, non_blocking=True)
