"""One optimiser step: the gradients of its micro-batches, clipping, the optimiser's update."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from .data import Inputs
from .loss import Objective
from .preservation import Preservation


class Stepper:
    """Runs the operations of a step one by one.

    Args:
        accelerator: accelerate's; optimizer and model as it has prepared them.
        parameters: what is trained.
        grad_accum: micro-batches in a step.
        max_grad_norm: clip gradients to this norm; 0 disables clipping.
        prior_weight: weight of the loss of each micro-batch's second half, the class images; None without them.
        preservation: of the extra rows that come last, where a micro-batch has some; None without them.

    Attributes:
        forward: the prediction for noisy latents, timesteps, condition and sizes: the model itself, or compiled.
    """

    def __init__(
        self,
        accelerator: Any,
        model: nn.Module,
        optimizer: Any,
        objective: Objective,
        parameters: Iterable[nn.Parameter],
        grad_accum: int,
        max_grad_norm: float,
        prior_weight: float | None,
        preservation: Preservation | None = None,
    ) -> None:
        self.accelerator = accelerator
        self.model = model
        self.forward: Callable[..., Tensor] = model
        self.optimizer = optimizer
        self.objective = objective
        self.parameters = list(parameters)
        self.grad_accum = grad_accum
        self.max_grad_norm = max_grad_norm
        self.prior_weight = prior_weight
        self.preservation = preservation

    def backward(self, inputs: Inputs, is_last: bool) -> Tensor:
        """Add the gradients of a micro-batch; returns its loss, a mean over its examples.

        Args:
            is_last: of the step; processes exchange gradients with the last micro-batch only.
        """
        with nullcontext() if is_last else self.accelerator.no_sync(self.model):
            loss = self.loss(inputs)
            self.accelerator.backward(loss / self.grad_accum)
        return loss.detach()

    def loss(self, inputs: Inputs) -> Tensor:
        """The loss of a micro-batch, with its graph."""
        noisy = self.objective.noisy(inputs.latents, inputs.noise, inputs.timesteps)
        if self.preservation is None or not inputs.preserved:
            with self.accelerator.autocast():
                prediction = self.forward(noisy, inputs.timesteps, inputs.condition, inputs.sizes)
            parts = (prediction, inputs.latents, inputs.noise, inputs.timesteps, inputs.weights)
            return self._loss_of_examples(*parts)
        examples, kept = slice(None, -inputs.preserved), slice(-inputs.preserved, None)
        # a context of autocast for each: the types that it casts weights to are kept until it ends
        with torch.no_grad(), self.preservation.base_model(), self.accelerator.autocast():
            sizes = None if inputs.sizes is None else inputs.sizes[kept]
            base = self.forward(noisy[kept], inputs.timesteps[kept], inputs.condition[kept], sizes)
        with self.accelerator.autocast():
            prediction = self.forward(noisy, inputs.timesteps, inputs.condition, inputs.sizes)
        parts = (prediction, inputs.latents, inputs.noise, inputs.timesteps, inputs.weights)
        loss = self._loss_of_examples(*(None if part is None else part[examples] for part in parts))
        moved = self.objective.distance(prediction[kept], base, inputs.timesteps[kept])
        return loss + self.preservation.weight * moved

    def _loss_of_examples(self, *parts: Any) -> Tensor:
        """Of the concept's examples, and of class images after them; `parts` as for `Objective.loss`."""
        if self.prior_weight is None:
            return self.objective.loss(*parts)
        concept, prior = zip(*((None, None) if x is None else x.chunk(2) for x in parts), strict=True)
        return self.objective.loss(*concept) + self.prior_weight * self.objective.loss(*prior)

    def finish(self) -> None:
        """Update the parameters and reset the gradients."""
        self.update()
        self.optimizer.zero_grad(set_to_none=True)

    def update(self) -> None:
        """Clip the gradients and let the optimiser take its step."""
        if self.max_grad_norm:
            self.accelerator.clip_grad_norm_(self.parameters, self.max_grad_norm)
        self.optimizer.step()
