"""The CUDA graph of a training step: recorded once, replayed from then on.

At batch 1 the processor takes longer to launch the thousands of kernels of a step than the GPU to run them. A graph
reads and writes fixed addresses, so inputs and gradients keep theirs.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .data import Inputs
from .step import Stepper

WARM_UP = 3
"""Steps run one operation at a time before recording: libraries choose kernels and allocate their state in them."""


@dataclass
class _Recording:
    """Micro-batches of one shape: inputs that stay in place, steps run one operation at a time, graph and its loss."""

    inputs: Inputs
    steps: int = 0
    graph: tuple[Any, Tensor] | None = None


class CudaGraphStepper:
    """Takes the steps of a `Stepper` on inputs and gradients with fixed addresses, recorded and replayed on CUDA.

    Args:
        stepper: of a single process, with captions that come embedded.
        record: record the operations after `WARM_UP` steps; on CUDA only. Steps of each shape, with and without the
            extra rows of preservation, are recorded each.
        record_update: record the optimiser's update as well. Not where it reads numbers back, as loss scaling does.
        warn: is told why recording failed; the steps then run one operation at a time.
    """

    def __init__(self, stepper: Stepper, record: bool, record_update: bool, warn: Callable[[str], None]) -> None:
        self.stepper = stepper
        self.record = record
        self.record_update = record_update
        self._warn = warn
        self._recordings: dict[tuple[int, ...], _Recording] = {}
        self._current: _Recording | None = None
        self._stream = torch.cuda.Stream() if record else None
        self._pool: Any = None
        self._update: Any = None

    @property
    def is_recorded(self) -> bool:
        """Whether steps such as the last one are replayed by now."""
        return self._current is not None and self._current.graph is not None

    def addresses(self) -> list[Tensor]:
        """The tensors that keep their addresses: inputs, then gradients; none before the first step."""
        held = [tensor for recording in self._recordings.values() for tensor in recording.inputs.tensors()]
        gradients = (parameter.grad for parameter in self.stepper.parameters)
        return [*held, *(grad for grad in gradients if grad is not None)] if held else []

    def backward(self, inputs: Inputs, is_last: bool) -> Tensor:
        """See `Stepper.backward`."""
        if not self._recordings:
            for parameter in self.stepper.parameters:
                parameter.grad = torch.zeros_like(parameter)
        current = self._current = self._recordings.get(inputs.kind)
        if current is None:
            current = self._current = self._recordings[inputs.kind] = _Recording(inputs.held())
        else:
            current.inputs.take(inputs)
        if self.record and current.graph is None and current.steps >= WARM_UP:
            self._record(current)
        if current.graph is not None:
            graph, loss = current.graph
            graph.replay()
            return loss.clone()
        with self._on_side_stream():
            return self.stepper.backward(current.inputs, is_last)

    def finish(self) -> None:
        """See `Stepper.finish`; the gradients become zeros."""
        if self._update is not None:
            self._update.replay()
        else:
            with self._on_side_stream():
                self._finish()
        if self._current is not None:
            self._current.steps += 1

    def _finish(self) -> None:
        self.stepper.update()
        self.stepper.optimizer.zero_grad(set_to_none=False)

    def _on_side_stream(self) -> AbstractContextManager[Any]:
        """What is recorded must not have run on the main stream before."""
        return nullcontext() if self._stream is None else _SideStream(self._stream)

    def _record(self, recording: _Recording) -> None:
        inputs = recording.inputs
        records_update = self.record_update and self._update is None
        # a Python number in a group would be recorded as it is now; a schedule fills a tensor
        for group in self.stepper.optimizer.param_groups if records_update else ():
            group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=inputs.latents.device)
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self._stream, pool=self._pool):
                loss = self.stepper.backward(inputs, True)
            self._pool = graph.pool()  # one after the other, so all graphs can use the same memory
            if records_update:
                update = torch.cuda.CUDAGraph()
                with torch.cuda.graph(update, stream=self._stream, pool=self._pool):
                    self._finish()
                self._update = update
            recording.graph = graph, loss
        except RuntimeError as problem:
            self.record = False
            self._update = None
            for each in self._recordings.values():
                each.graph = None
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
