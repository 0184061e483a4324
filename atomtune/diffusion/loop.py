"""The training loop: steps, checkpoints, and nothing that is not needed at every step."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import AtomtuneError
from ..files.checkpoint import Checkpoint, parameters_of
from .batches import Batches
from .objective import Objective


@dataclass
class Loop:
    """One process's share of a training run.

    Attributes:
        accelerator: accelerate's; holds device, precision and the other processes.
        unet: the adapted UNet. Its deltas are the only parameters that require gradients.
        parameters: the trained parameters by name.
        embedding: the caption's embedding, (1, tokens, width), on the device.
        batches: examples by step; its size is that of all processes together.
        losses: loss of every step taken so far, the mean over all processes.
    """

    accelerator: Any
    unet: nn.Module
    parameters: dict[str, nn.Parameter]
    embedding: Tensor
    objective: Objective
    batches: Batches
    lr: float
    weight_decay: float
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        # foreach and fused kernels are as exact; the plain order of operations is kept for bit-equal resumes on the CPU
        optimizer = torch.optim.AdamW(self.parameters.values(), lr=self.lr, weight_decay=self.weight_decay)
        self.model, self.optimizer = self.accelerator.prepare(self.unet, optimizer)

    @property
    def step(self) -> int:
        """Steps taken so far."""
        return len(self.losses)

    def run(self, steps: int, after_step: Callable[[float], bool]) -> None:
        """Take steps until `steps` are taken or `after_step(loss)` is false.

        Raises AtomtuneError before the optimiser's step where a loss is not finite.
        """
        self.model.train()
        while self.step < steps:
            began = time.perf_counter()
            self.losses.append(self._take_step(self.step))
            self.seconds += time.perf_counter() - began
            if not after_step(self.losses[-1]):
                return

    def _take_step(self, step: int) -> float:
        share = self.batches.size // self.accelerator.num_processes
        batch = self.batches.draw(step, share * self.accelerator.process_index, share)
        device = self.accelerator.device
        latents, noise, timesteps = (x.to(device) for x in (batch.latents, batch.noise, batch.timesteps))
        noisy = self.objective.noisy(latents, noise, timesteps)
        condition = self.embedding.expand(share, -1, -1)
        with self.accelerator.autocast():
            prediction = self.model(noisy, timesteps, encoder_hidden_states=condition, return_dict=False)[0]
        loss = self.objective.loss(prediction, latents, noise, timesteps)
        value = float(self.accelerator.gather(loss.detach().reshape(1)).mean())
        if not math.isfinite(value):
            raise AtomtuneError(
                f"the loss became {value} at step {step + 1}; the step was not taken",
                "train with a lower --lr; the last checkpoint is kept",
            )
        self.accelerator.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return value

    def checkpoint(self) -> Checkpoint:
        """The state after the steps taken so far, on the CPU."""
        scaler = getattr(self.accelerator, "scaler", None)
        return Checkpoint(
            step=self.step,
            parameters=parameters_of(self.parameters),
            optimizer=self.optimizer.state_dict(),
            scaler=scaler.state_dict() if scaler is not None else {},
            losses=list(self.losses),
            seconds=self.seconds,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint. Raises AtomtuneError where it is of other parameters."""
        shapes = {name: tuple(value.shape) for name, value in self.parameters.items()}
        if {name: tuple(value.shape) for name, value in checkpoint.parameters.items()} != shapes:
            raise AtomtuneError(
                "the checkpoint is of other layers or shapes than the run", "start again with --overwrite"
            )
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(checkpoint.parameters[name])
        self.optimizer.load_state_dict(checkpoint.optimizer)
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is not None and checkpoint.scaler:
            scaler.load_state_dict(checkpoint.scaler)
        self.losses = list(checkpoint.losses)
        self.seconds = checkpoint.seconds
