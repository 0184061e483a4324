"""One optimiser step: gradients of micro-batches, then the parameters' move.

`Stepper` runs the operations one by one. `StaticStepper` does the same on inputs and gradients that stay where they are
in memory, so that on CUDA it can record the operations once and replay them: at batch 1 the processor takes longer to
launch the some thousand kernels of a step than the GPU to run them.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from .data import Inputs
from .loss import Objective

WARM_UP = 3
"""Steps that run one by one before they are recorded: libraries choose their kernels and make their state in them."""


class Stepper:
    """Runs the operations of a step one by one.

    Args:
        accelerator: accelerate's; optimizer and model as it has prepared them.
        forward: the prediction for noisy latents, timesteps and condition; the model itself, or compiled.
        parameters: what is trained.
        accumulate: micro-batches in a step.
        max_grad_norm: longer gradients are cut to this norm; 0 for never.
        prior_weight: of the second half of each micro-batch, which is of the class; None where there is none.
    """

    def __init__(
        self,
        accelerator: Any,
        model: nn.Module,
        optimizer: Any,
        objective: Objective,
        parameters: Iterable[nn.Parameter],
        accumulate: int,
        max_grad_norm: float,
        prior_weight: float | None,
    ) -> None:
        self.accelerator = accelerator
        self.model = model
        self.forward: Callable[..., Tensor] = model
        self.optimizer = optimizer
        self.objective = objective
        self.parameters = list(parameters)
        self.accumulate = accumulate
        self.max_grad_norm = max_grad_norm
        self.prior_weight = prior_weight

    def learn(self, inputs: Inputs, is_last: bool) -> Tensor:
        """Add the gradients of a micro-batch's share of the step; its loss, a mean over its examples.

        Args:
            is_last: of the step; gradients travel between the processes with the last one only.
        """
        with nullcontext() if is_last else self.accelerator.no_sync(self.model):
            loss = self.loss(inputs)
            self.accelerator.backward(loss / self.accumulate)
        return loss.detach()

    def loss(self, inputs: Inputs) -> Tensor:
        """The loss of a micro-batch, with its graph."""
        noisy = self.objective.noisy(inputs.latents, inputs.noise, inputs.timesteps)
        with self.accelerator.autocast():
            prediction = self.forward(noisy, inputs.timesteps, inputs.condition)
        parts = (prediction, inputs.latents, inputs.noise, inputs.timesteps)
        if self.prior_weight is None:
            return self.objective.loss(*parts)
        concept, other = zip(*(x.chunk(2) for x in parts), strict=True)
        return self.objective.loss(*concept) + self.prior_weight * self.objective.loss(*other)

    def finish(self) -> None:
        """Move the parameters by the gradients, and forget these."""
        self.move()
        self.optimizer.zero_grad(set_to_none=True)

    def move(self) -> None:
        """Cut the gradients and let the optimiser take its step."""
        if self.max_grad_norm:
            self.accelerator.clip_grad_norm_(self.parameters, self.max_grad_norm)
        self.optimizer.step()


class StaticStepper:
    """Takes the steps of a `Stepper` on inputs and gradients that stay in their place.

    Args:
        stepper: of a single process, and of captions that come embedded.
        records: record the operations after `WARM_UP` steps and replay them from then on; on CUDA only.
        moves: record the optimiser's step as well. Not where it asks the GPU for numbers, as loss scaling does.
        told: is told in words why recording failed; the steps then go on one by one.
    """

    def __init__(self, stepper: Stepper, records: bool, moves: bool, told: Callable[[str], None]) -> None:
        self.stepper = stepper
        self.records = records
        self.moves = moves
        self._told = told
        self._inputs: Inputs | None = None
        self._steps = 0
        self._stream = torch.cuda.Stream() if records else None
        self._learn: tuple[Any, Tensor] | None = None
        self._move: Any = None

    def learn(self, inputs: Inputs, is_last: bool) -> Tensor:
        """See `Stepper.learn`."""
        if self._inputs is None:
            self._inputs = inputs.held()
            for parameter in self.stepper.parameters:
                parameter.grad = torch.zeros_like(parameter)
        else:
            self._inputs.take(inputs)
        if self.records and self._learn is None and self._steps >= WARM_UP:
            self._record()
        if self._learn is not None:
            graph, loss = self._learn
            graph.replay()
            return loss.clone()
        with self._aside():
            return self.stepper.learn(self._inputs, is_last)

    def finish(self) -> None:
        """See `Stepper.finish`; the gradients become zeros."""
        if self._move is not None:
            self._move.replay()
        else:
            with self._aside():
                self._finish()
        self._steps += 1

    def _finish(self) -> None:
        self.stepper.move()
        self.stepper.optimizer.zero_grad(set_to_none=False)

    def _aside(self) -> AbstractContextManager[Any]:
        """What is recorded must not have run on the main stream before."""
        return nullcontext() if self._stream is None else _Aside(self._stream)

    def _record(self) -> None:
        inputs = self._inputs
        assert inputs is not None
        # a number in a group would be recorded as it is now; schedules fill a tensor
        for group in self.stepper.optimizer.param_groups if self.moves else ():
            group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=inputs.latents.device)
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self._stream):
                loss = self.stepper.learn(inputs, True)
            if self.moves:
                move = torch.cuda.CUDAGraph()
                with torch.cuda.graph(move, stream=self._stream, pool=graph.pool()):
                    self._finish()
                self._move = move
            self._learn = graph, loss
        except RuntimeError as problem:
            self.records = False
            self._learn = self._move = None
            torch.cuda.synchronize()
            self._told(f"the step could not be recorded as a CUDA graph ({problem}); it runs operation by operation")


class _Aside:
    """Within the context, work goes to another stream, after what was asked for before and before what comes after."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._context = torch.cuda.stream(stream)

    def __enter__(self) -> None:
        self._stream.wait_stream(torch.cuda.current_stream())
        self._context.__enter__()

    def __exit__(self, *problem: Any) -> None:
        self._context.__exit__(*problem)
        torch.cuda.current_stream().wait_stream(self._stream)
