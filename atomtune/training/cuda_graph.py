"""The CUDA graph of a training step: recorded once, replayed from then on.

At batch 1 the processor takes longer to launch the thousands of kernels of a step than the GPU to run them. A graph
reads and writes fixed addresses, so inputs and gradients keep theirs.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from .data import Inputs
from .step import Stepper

WARM_UP = 3
"""Steps run one operation at a time before recording: libraries choose kernels and allocate their state in them."""


class CudaGraphStepper:
    """Takes the steps of a `Stepper` on inputs and gradients with fixed addresses, recorded and replayed on CUDA.

    Args:
        stepper: of a single process, with captions that come embedded.
        record: record the operations after `WARM_UP` steps; on CUDA only.
        record_update: record the optimiser's update as well. Not where it reads numbers back, as loss scaling does.
        warn: is told why recording failed; the steps then run one operation at a time.
    """

    def __init__(self, stepper: Stepper, record: bool, record_update: bool, warn: Callable[[str], None]) -> None:
        self.stepper = stepper
        self.record = record
        self.record_update = record_update
        self._warn = warn
        self._inputs: Inputs | None = None
        self._steps = 0
        self._stream = torch.cuda.Stream() if record else None
        self._backward: tuple[Any, Tensor] | None = None
        self._update: Any = None

    @property
    def is_recorded(self) -> bool:
        """Whether steps are replayed by now."""
        return self._backward is not None

    def addresses(self) -> list[Tensor]:
        """The tensors that keep their addresses: inputs, then gradients; none before the first step."""
        gradients = (parameter.grad for parameter in self.stepper.parameters)
        return (
            [] if self._inputs is None else [*self._inputs.tensors(), *(grad for grad in gradients if grad is not None)]
        )

    def backward(self, inputs: Inputs, is_last: bool) -> Tensor:
        """See `Stepper.backward`."""
        if self._inputs is None:
            self._inputs = inputs.held()
            for parameter in self.stepper.parameters:
                parameter.grad = torch.zeros_like(parameter)
        else:
            self._inputs.take(inputs)
        if self.record and self._backward is None and self._steps >= WARM_UP:
            self._record()
        if self._backward is not None:
            graph, loss = self._backward
            graph.replay()
            return loss.clone()
        with self._on_side_stream():
            return self.stepper.backward(self._inputs, is_last)

    def finish(self) -> None:
        """See `Stepper.finish`; the gradients become zeros."""
        if self._update is not None:
            self._update.replay()
        else:
            with self._on_side_stream():
                self._finish()
        self._steps += 1

    def _finish(self) -> None:
        self.stepper.update()
        self.stepper.optimizer.zero_grad(set_to_none=False)

    def _on_side_stream(self) -> AbstractContextManager[Any]:
        """What is recorded must not have run on the main stream before."""
        return nullcontext() if self._stream is None else _SideStream(self._stream)

    def _record(self) -> None:
        inputs = self._inputs
        assert inputs is not None
        # a Python number in a group would be recorded as it is now; a schedule fills a tensor
        for group in self.stepper.optimizer.param_groups if self.record_update else ():
            group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=inputs.latents.device)
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self._stream):
                loss = self.stepper.backward(inputs, True)
            if self.record_update:
                update = torch.cuda.CUDAGraph()
                with torch.cuda.graph(update, stream=self._stream, pool=graph.pool()):
                    self._finish()
                self._update = update
            self._backward = graph, loss
        except RuntimeError as problem:
            self.record = False
            self._backward = self._update = None
            torch.cuda.synchronize()
            self._warn(f"the step could not be recorded as a CUDA graph ({problem}); it runs operation by operation")


class _SideStream:
    """Within the context, work goes to another stream: after what was queued before, before what is queued after."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._context = torch.cuda.stream(stream)

    def __enter__(self) -> None:
        self._stream.wait_stream(torch.cuda.current_stream())
        self._context.__enter__()

    def __exit__(self, *problem: Any) -> None:
        self._context.__exit__(*problem)
        torch.cuda.current_stream().wait_stream(self._stream)
