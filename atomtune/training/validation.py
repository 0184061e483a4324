"""The held-out loss: that of images which are not trained on, at noises and timesteps that are always the same.

The training loss of a step says little, as its noise and its timestep decide it. This one falls as long as what is
learned is the concept, and rises where it is the training images.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import AtomtuneError, UsageError
from ..files.checkpoint import parameters_of
from ..models.conditioning import Embeddings, Tokens
from ..runtime.seeds import derived_generator
from ..runtime.units import counted
from .data import Batch, Inputs, Latents
from .loss_options import timestep_range
from .material import Material
from .options import PrepareOptions, TrainOptions
from .validation_options import held_out_of

if TYPE_CHECKING:
    from .loop import Loop

NOISES = 4
"""Of each image, at as many timesteps."""


def split(material: Material, options: TrainOptions | PrepareOptions) -> tuple[Material, Material]:
    """The images to train on, and those that are kept out; which ones follows from the seed.

    An image that is there twice is not kept out, as it would be trained on all the same.

    Raises UsageError where none would be left.
    """
    held: set[int] = set()
    for number, taught in enumerate(material.taught):
        own = [index for index, of in enumerate(material.of) if of == number]
        digests = Counter(material.images[index].digest for index in own)
        count = held_out_of(options.validate, len(own))
        if count >= len(own):
            raise UsageError(
                f"--validate {count} would leave nothing to learn of the {counted(len(own), 'image')} of "
                f"{taught.concept.name}",
                "fewer, or --validate 0",
            )
        order = torch.randperm(
            len(own), generator=derived_generator(options.seed, "validation", taught.concept.name)
        ).tolist()
        shuffled = [own[place] for place in order]
        single = [n for n in shuffled if not material.images[n].digest or digests[material.images[n].digest] == 1]
        if len(single) < count:
            raise UsageError(
                f"only {counted(len(single), 'image')} of {taught.concept.name} is not there twice, so {count} cannot "
                "be kept out",
                "remove the copies, or --validate 0",
            )
        held |= set(single[:count])
    everything = range(len(material.images))
    return material.chosen([n for n in everything if n not in held]), material.chosen(sorted(held))


def examples(latents: Latents, options: TrainOptions, timesteps: int, caption: int, name: str) -> Batch:
    """The examples of one image, the same at every measurement.

    Args:
        latents: of the image alone, whose mean counts.
        timesteps: of the noise schedule; those of the examples are spread evenly over what is trained.
        caption: number of its caption; name: what the noise follows from, beside the seed.
    """
    first, last = timestep_range(options.timesteps) or (0, timesteps - 1)
    span = min(last, timesteps - 1) - first + 1
    chosen = [first + int(span * (place + 0.5) / NOISES) for place in range(NOISES)]
    generator = derived_generator(options.seed, "validation noise", name)
    mean = latents.mean.expand(NOISES, *latents.mean.shape[1:])
    return Batch(
        mean.clone(),
        torch.randn(mean.shape, generator=generator),
        torch.tensor(chosen),
        torch.full((NOISES,), caption),
        None if latents.weights is None else latents.weights.expand(NOISES, *latents.weights.shape[1:]),
        None if latents.sizes is None else latents.sizes.expand(NOISES, -1),
    )


@dataclass
class Validation:
    """The held-out loss of a run, measurement by measurement.

    Attributes:
        names: of the files that are kept out.
        batches: examples of each image; condition: of their captions, embedded or as tokens, on the device.
        together: examples that are computed at a time.
        every: steps between two measurements.
        patience: measurements without a lower loss after which the run is over; None for never.
        losses: by step.
        best: the parameters where the loss was lowest, on the CPU, where there is a `patience`.
    """

    names: list[str]
    batches: Sequence[Batch]
    condition: Embeddings | Tokens
    together: int
    every: int
    patience: int | None
    losses: dict[int, float] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)

    def is_due(self, step: int) -> bool:
        """Whether the loss is to be measured after a step."""
        return step % self.every == 0 and step not in self.losses

    @property
    def best_step(self) -> int | None:
        """The step with the lowest loss, the first of several; None before the first measurement."""
        return min(self.losses, key=lambda step: (self.losses[step], step), default=None)

    @property
    def is_over(self) -> bool:
        """Whether the loss has not come to a new low for so long that the run is to stop."""
        if self.patience is None or self.best_step is None:
            return False
        return sum(step > self.best_step for step in self.losses) >= self.patience

    @torch.no_grad()
    def measure(self, loop: "Loop") -> float:
        """Measure the loss of the parameters as they would be written.

        Raises AtomtuneError where it is not finite.
        """
        total, examples = 0.0, 0
        with loop.averaged():
            for batch in self.batches:
                for inputs in self._inputs(batch, loop.accelerator.device):
                    noisy = loop.objective.noisy(inputs.latents, inputs.noise, inputs.timesteps)
                    with loop.accelerator.autocast():
                        prediction = loop.tuned(noisy, inputs.timesteps, inputs.condition, inputs.sizes)
                    parts = (prediction, inputs.latents, inputs.noise, inputs.timesteps, inputs.weights)
                    total += float(loop.objective.loss(*parts)) * len(noisy)
                    examples += len(noisy)
            loss = total / examples
            if not math.isfinite(loss):
                raise AtomtuneError(
                    f"the held-out loss became {loss} at step {loop.step}",
                    "train with a lower --lr; the last checkpoint is kept",
                )
            self.losses[loop.step] = loss
            if self.patience is not None and self.best_step == loop.step:
                self.best = parameters_of(loop.parameters)
        return loss

    def _inputs(self, batch: Batch, device: torch.device) -> Iterator[Inputs]:
        for first in range(0, NOISES, self.together):
            part = batch[first : first + self.together]
            condition: Any = self.condition[part.captions]
            yield Inputs.of(part, condition, device)

    @contextmanager
    def best_in_place(self, parameters: dict[str, nn.Parameter]) -> Iterator[None]:
        """Within the context the parameters are those of the lowest loss, where these are kept."""
        now = {name: parameters[name].detach().clone() for name in self.best}
        with torch.no_grad():
            for name, value in self.best.items():
                parameters[name].copy_(value)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in now.items():
                    parameters[name].copy_(value)

    def state(self) -> dict[str, Any]:
        """The losses for JSON."""
        return {str(step): loss for step, loss in self.losses.items()}

    def restore(self, losses: dict[str, float], best: dict[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        self.losses = {int(step): loss for step, loss in losses.items()}
        self.best = dict(best)
