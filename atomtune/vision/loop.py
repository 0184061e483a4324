"""The steps of a classifier's training, and the state to resume from."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..errors import AtomtuneError
from ..files.checkpoint import Checkpoint, check_fits, parameters_of, same_kind
from ..training.optimizers import begin_training, evaluated, learning_rate
from .batches import Batches
from .network import logits_of


@dataclass
class ClassifierLoop:
    """A training run, for `training.run_steps`.

    The network computes in evaluation mode: running statistics stay those of its weights, which a file does not hold,
    and nothing is dropped out, so that a resumed run is equal to the last bit.

    Attributes:
        accelerator: accelerate's; holds device and precision.
        parameters: the trained parameters by name.
        losses: of every step so far; lr: the learning rate of the step taken last.
    """

    accelerator: Any
    model: nn.Module
    parameters: dict[str, nn.Parameter]
    batches: Batches
    optimizer: Any
    schedule: Any
    label_smoothing: float = 0.0
    max_grad_norm: float = 0.0
    known_optimizer: bool = True
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    lr: float = 0.0

    def __post_init__(self) -> None:
        self.optimizer = self.accelerator.prepare(self.optimizer)

    @property
    def step(self) -> int:
        """Steps taken so far."""
        return len(self.losses)

    @property
    def trained_numbers(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    def run(self, steps: int, after_step: Callable[[float], bool]) -> None:
        """Take steps until `steps` are taken or `after_step(loss)` is false.

        Raises AtomtuneError before the optimiser's step where a loss is not finite.
        """
        begin_training(self.optimizer)
        began = time.perf_counter()
        for images, labels in self.batches.between(self.step, steps):
            self.losses.append(self._take_step(images, labels))
            self.seconds += time.perf_counter() - began
            if not after_step(self.losses[-1]):
                return
            began = time.perf_counter()

    def _take_step(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        device = self.accelerator.device
        with self.accelerator.autocast():
            logits = logits_of(self.model, images.to(device))
        loss = F.cross_entropy(logits.float(), labels.to(device), label_smoothing=self.label_smoothing)
        self.accelerator.backward(loss)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise AtomtuneError(
                f"the loss became {value} at step {self.step + 1}; the step was not taken",
                "train with a lower --lr; the last checkpoint is kept",
            )
        if self.max_grad_norm > 0:
            self.accelerator.clip_grad_norm_(self.parameters.values(), self.max_grad_norm)
        self.lr = learning_rate(self.optimizer)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        return value

    def any_process(self, flag: bool) -> bool:
        """Whether `flag` is on any process; there is one."""
        return flag

    def averaged(self) -> AbstractContextManager[None]:
        """Within the context, the parameters are those for use, see `evaluated`."""
        return evaluated(self.optimizer)

    def checkpoint(self, cached: Mapping[str, str]) -> Checkpoint:
        """The state after the steps taken so far, on the CPU."""
        scaler = getattr(self.accelerator, "scaler", None)
        return Checkpoint(
            step=self.step,
            parameters=parameters_of(self.parameters),
            optimizer=self.optimizer.state_dict(),
            scaler=scaler.state_dict() if scaler is not None else {},
            losses=list(self.losses),
            seconds=self.seconds,
            schedule=self.schedule.state_dict(),
            cached=dict(cached),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint. Raises AtomtuneError where it is of another run."""
        own = self.optimizer.state_dict()
        schedule = self.schedule.state_dict()
        check_fits(checkpoint, self.parameters, own, schedule, averaged=False, known_optimizer=self.known_optimizer)
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is not None and checkpoint.scaler:
            if not same_kind(checkpoint.scaler, scaler.state_dict()):
                raise AtomtuneError("the checkpoint's loss scaler is damaged", "start again with --overwrite")
            scaler.load_state_dict(checkpoint.scaler)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(checkpoint.parameters[name])
        groups = zip(own["param_groups"], checkpoint.optimizer["param_groups"], strict=True)
        stored = {"state": checkpoint.optimizer["state"], "param_groups": [{**ours, **its} for ours, its in groups]}
        self.optimizer.load_state_dict(stored)
        self.schedule.load_state_dict({key: checkpoint.schedule.get(key, value) for key, value in schedule.items()})
        self.losses = list(checkpoint.losses)
        self.seconds = checkpoint.seconds
