"""How the steps of a run are carried out: on the CPU, recorded on CUDA, or compiled."""

from functools import partial
from typing import Any

import torch

from ..runtime.progress import Events
from .compile import compiled
from .loop import Loop
from .model import TYPES
from .options import TrainOptions


def choose_stepping(loop: Loop, options: TrainOptions, events: Events) -> None:
    """Give a loop the fastest way of taking its steps that it can go."""
    device: torch.device = loop.accelerator.device
    if options.compile:
        events.phase("compiling the model")
        kind = TYPES.get(options.precision, torch.float32)
        loop.compile_with(partial(compiled, kind=kind, told=events.warn))
        return
    if device.type != "cuda" or not options.cuda_graph:
        return
    if reason := unrecordable(loop):
        events.phase(f"the steps are not recorded as a CUDA graph: {reason}")
        return
    loop.hold_still(records=True, moves=records_moves(loop), told=events.warn)


def unrecordable(loop: Loop) -> str | None:
    """Why the gradients of a run's steps cannot be recorded and replayed; None where they can."""
    if loop.accelerator.num_processes > 1:
        return "several processes exchange their gradients"
    if loop.tuned.encoders:
        return "the text encoders learn"
    return None


def records_moves(loop: Loop) -> bool:
    """Whether the optimiser's step can be recorded too: not where it, or the scaling of losses, asks for numbers."""
    groups: list[dict[str, Any]] = loop.optimizer.param_groups
    return getattr(loop.accelerator, "scaler", None) is None and all(group.get("capturable") for group in groups)
