"""The training loop: steps, checkpoints, and nothing that is not needed at every step."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..errors import AtomtuneError
from ..files.checkpoint import Checkpoint, check_fits, parameters_of, same_kind
from ..models.conditioning import Embeddings, Tokens
from .cuda_graph import CudaGraphStepper
from .data import Batch, Inputs
from .ema import Average
from .loss import Objective
from .model import Tuned
from .optimizers import begin_training, evaluated, learning_rate
from .preservation import Preservation
from .prior_preservation import Prior
from .shaped_batches import AnyBatches
from .step import Stepper
from .validation import Validation


@dataclass
class Loop:
    """One process's share of a training run.

    Attributes:
        accelerator: accelerate's; holds device, precision and the other processes.
        tuned: the adapted model; its deltas alone require gradients.
        parameters: the trained parameters by name.
        condition: every distinct caption on the device: embedded, or as tokens where the text encoders are trained.
        batches: examples by step; its size is that of all processes and micro-batches together.
        optimizer: over `parameters`; schedule: of its learning rate.
        grad_accum: micro-batches that a process takes one after the other in a step.
        max_grad_norm: clip gradients to this norm; 0 disables clipping.
        prior: class images, for prior preservation; preservation: extra rows under other prompts.
        average: of the parameters over the steps; validation: the held-out loss.
        stepper: runs the operations of a step; a plain one until `use_cuda_graph`.
        losses: loss of every step taken so far, the mean over all processes.
        known_optimizer: see `check_fits`.
    """

    accelerator: Any
    tuned: Tuned
    parameters: dict[str, nn.Parameter]
    condition: Embeddings | Tokens
    objective: Objective
    batches: AnyBatches
    optimizer: Any
    schedule: Any
    grad_accum: int = 1
    max_grad_norm: float = 0.0
    prior: Prior | None = None
    preservation: Preservation | None = None
    average: Average | None = None
    validation: Validation | None = None
    losses: list[float] = field(default_factory=list)
    known_optimizer: bool = True
    seconds: float = 0.0
    lr: float = field(default=0.0, init=False)  # of the step taken last

    def __post_init__(self) -> None:
        # the schedule is not prepared: accelerate would step it once for every process
        self.model, self.optimizer = self.accelerator.prepare(self.tuned, self.optimizer)
        self.stepper: Stepper | CudaGraphStepper = Stepper(
            self.accelerator,
            self.model,
            self.optimizer,
            self.objective,
            self.parameters.values(),
            self.grad_accum,
            self.max_grad_norm,
            None if self.prior is None else self.prior.weight,
            self.preservation,
        )
        self._prefetched: dict[tuple[int, int], Batch] = {}

    def compile_with(self, compiled: Callable[[Stepper, Inputs], bool]) -> bool:
        """Have the model compiled, with the first micro-batch to check it; see `compile.compiled`."""
        assert isinstance(self.stepper, Stepper)
        self.model.train()
        return compiled(self.stepper, self._inputs(0, 0))

    def use_cuda_graph(self, record: bool, record_update: bool, warn: Callable[[str], None]) -> None:
        """Record a step and replay it, see `CudaGraphStepper`."""
        assert isinstance(self.stepper, Stepper)
        self.stepper = CudaGraphStepper(self.stepper, record, record_update, warn)

    @property
    def step(self) -> int:
        """Steps taken so far."""
        return len(self.losses)

    def run(self, steps: int, after_step: Callable[[float], bool]) -> None:
        """Take steps until `steps` are taken or `after_step(loss)` is false.

        Raises AtomtuneError before the optimiser's step where a loss is not finite.
        """
        self.model.train()
        begin_training(self.optimizer)
        while self.step < steps:
            began = time.perf_counter()
            self.losses.append(self._take_step(self.step))
            self.seconds += time.perf_counter() - began
            if not after_step(self.losses[-1]):
                return

    def _take_step(self, step: int) -> float:
        losses = [
            self.stepper.backward(self._inputs(step, part), part + 1 == self.grad_accum)
            for part in range(self.grad_accum)
        ]
        if self.accelerator.device.type == "cuda":
            self._prefetched = {(step + 1, 0): self._draw(step + 1, 0)}  # while the GPU is at work
        value = float(self.accelerator.gather(torch.stack(losses).mean().reshape(1)).mean())
        if not math.isfinite(value):
            raise AtomtuneError(
                f"the loss became {value} at step {step + 1}; the step was not taken",
                "train with a lower --lr; the last checkpoint is kept",
            )
        self.lr = learning_rate(self.optimizer)
        self.stepper.finish()
        self.schedule.step()
        if self.average is not None:
            self.average.update()
        return value

    def _inputs(self, step: int, part: int) -> Inputs:
        """This process's micro-batch number `part`: the concept's images, class images, extra rows of preservation."""
        batch = self._prefetched.pop((step, part), None) or self._draw(step, part)
        condition: Any = self.condition[batch.captions[: self._share]]
        if self.prior is not None:
            condition = condition + self.prior.condition[batch.captions[self._share : 2 * self._share]]
        rows = self._rows(step)
        if self.preservation is not None and rows:
            condition = condition + self.preservation.condition[batch.captions[-rows:]]
        return Inputs.of(batch, condition, self.accelerator.device, rows)

    def _draw(self, step: int, part: int) -> Batch:
        number = self.accelerator.process_index * self.grad_accum + part
        first, rows = self._share * number, self._rows(step)
        batch = self.batches.draw(step, first, self._share)
        if self.prior is not None:
            batch = batch + self.prior.batches.draw(step, first, self._share)
        if self.preservation is not None and rows:
            batch = batch + self.preservation.draw(step, rows * number, rows)
        return batch

    @property
    def _share(self) -> int:
        """Examples of the concept in a micro-batch of this process."""
        return self._in_micro_batch(self.batches)

    def _rows(self, step: int) -> int:
        """Extra rows of preservation in a micro-batch of this process."""
        if self.preservation is None or not self.preservation.is_due(step):
            return 0
        return self._in_micro_batch(self.preservation.batches)

    def _in_micro_batch(self, batches: AnyBatches) -> int:
        return batches.size // (self.accelerator.num_processes * self.grad_accum)

    def any_process(self, flag: bool) -> bool:
        """True where `flag` is on any process, so that all of them stop after the same step."""
        if self.accelerator.num_processes == 1:
            return flag
        return bool(self.accelerator.gather(torch.tensor([int(flag)], device=self.accelerator.device)).any())

    def averaged(self) -> AbstractContextManager[None]:
        """Within the context, the parameters hold their average where there is one, see also `evaluated`."""
        return self.average.in_place() if self.average is not None else evaluated(self.optimizer)

    @property
    def trained_numbers(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    def checkpoint(self, cached: Mapping[str, str]) -> Checkpoint:
        """The state after the steps taken so far, on the CPU. `cached`: see `Checkpoint`."""
        scaler = getattr(self.accelerator, "scaler", None)
        optimizer = self.optimizer.state_dict()
        for group in optimizer["param_groups"]:
            group["lr"] = float(group["lr"])  # a tensor where the step is recorded
        return Checkpoint(
            step=self.step,
            parameters=parameters_of(self.parameters),
            optimizer=optimizer,
            scaler=scaler.state_dict() if scaler is not None else {},
            losses=list(self.losses),
            seconds=self.seconds,
            schedule=self.schedule.state_dict(),
            average=self.average.state() if self.average is not None else {},
            cached=dict(cached),
            held_out=self.validation.state() if self.validation is not None else {},
            best=dict(self.validation.best) if self.validation is not None else {},
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint. Raises AtomtuneError where it is of another run."""
        own = self.optimizer.state_dict()
        check_fits(
            checkpoint,
            self.parameters,
            own,
            self.schedule.state_dict(),
            averaged=self.average is not None,
            known_optimizer=self.known_optimizer,
        )
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is not None and checkpoint.scaler and not same_kind(checkpoint.scaler, scaler.state_dict()):
            raise AtomtuneError("the checkpoint's loss scaler is damaged", "start again with --overwrite")
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(checkpoint.parameters[name])
        groups = zip(own["param_groups"], checkpoint.optimizer["param_groups"], strict=True)
        stored = {"state": checkpoint.optimizer["state"], "param_groups": [{**ours, **its} for ours, its in groups]}
        self.optimizer.load_state_dict(stored)
        # a schedule takes its state as its attributes, whatever they are
        schedule = self.schedule.state_dict()
        self.schedule.load_state_dict({key: checkpoint.schedule.get(key, value) for key, value in schedule.items()})
        if self.validation is not None:
            self.validation.restore(checkpoint.held_out, checkpoint.best)
        if self.average is not None:
            self.average.restore(checkpoint.average, checkpoint.step)
        if scaler is not None and checkpoint.scaler:
            scaler.load_state_dict(checkpoint.scaler)
        self.losses = list(checkpoint.losses)
        self.seconds = checkpoint.seconds
