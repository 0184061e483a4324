"""Optimisers and learning rate schedules by the names that users of diffusers and kohya's scripts know."""

import contextlib
import importlib.util
import io
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ..errors import AtomtuneError
from .options import SCHEDULES, OptimizerOptions

ENDLESS = frozenset({"constant", "constant-with-warmup"})
"""Schedules that do not depend on how long a run is, so that a run may be given more steps."""

_PACKAGES = {"adamw8bit": "bitsandbytes", "prodigy": "prodigyopt", "tensorboard": "tensorboard", "wandb": "wandb"}


def require_package(option: str, value: str | None) -> None:
    """Raise AtomtuneError where an option's value, say `--optimizer prodigy`, needs a package that is not there."""
    package = _PACKAGES.get(value or "")
    if package is not None and importlib.util.find_spec(package) is None:
        raise AtomtuneError(
            f"--{option} {value} needs the package {package}, which is not installed", f"pip install {package}"
        )


def advise(options: OptimizerOptions) -> str | None:
    """What somebody who chose this optimiser and learning rate should know, if anything."""
    if options.optimizer == "prodigy" and options.lr < 0.1:
        return f"prodigy finds the learning rate itself and multiplies it by --lr, here {options.lr:g}; 1 is usual"
    return None


def make_optimizer(
    options: OptimizerOptions, parameters: Iterable[nn.Parameter], device: torch.device
) -> torch.optim.Optimizer:
    """The optimiser over parameters that are on `device` already.

    "adamw" (fused; on CUDA ready to be recorded as a CUDA graph), "adamw8bit" (Dettmers et al. 2022,
    bitsandbytes) or "prodigy" (Mishchenko & Defazio 2023, prodigyopt), which finds the step size itself: its lr is a
    factor, usually 1. Raises AtomtuneError where the package is missing or cannot work on the device.
    """
    require_package("optimizer", options.optimizer)
    trained = list(parameters)
    lr, weight_decay = options.lr, options.weight_decay
    if options.optimizer == "adamw":
        on_cuda = device.type == "cuda"
        fused = True if on_cuda or device.type == "cpu" else None
        return torch.optim.AdamW(trained, lr=lr, weight_decay=weight_decay, fused=fused, capturable=on_cuda)
    if options.optimizer == "prodigy":
        from prodigyopt import Prodigy

        with contextlib.redirect_stdout(io.StringIO()):  # it prints, and standard output is the result's
            return Prodigy(trained, lr=lr, weight_decay=weight_decay)
    if device.type != "cuda":
        raise AtomtuneError(
            f"--optimizer {options.optimizer} needs a CUDA device, not {device.type}", "use --optimizer adamw"
        )
    from bitsandbytes.optim import AdamW8bit

    return AdamW8bit(trained, lr=lr, weight_decay=weight_decay)


def make_schedule(options: OptimizerOptions, optimizer: torch.optim.Optimizer) -> Any:
    """The learning rate schedule, by optimiser steps: `warmup` of them from 0 up, then as its name says."""
    from diffusers.optimization import get_scheduler

    return get_scheduler(
        SCHEDULES[options.lr_scheduler],
        optimizer,
        num_warmup_steps=options.warmup,
        num_training_steps=options.steps,
        num_cycles=options.lr_cycles,
        power=options.lr_power,
    )


def learning_rate(optimizer: torch.optim.Optimizer) -> float:
    """The rate of the next step; Prodigy's own estimate is part of it."""
    group = optimizer.param_groups[0]
    return float(group["lr"]) * float(group.get("d", 1.0))
