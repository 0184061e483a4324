"""Optimisers and learning rate schedules by the names that users of diffusers and kohya's scripts know."""

import ast
import contextlib
import importlib.util
import inspect
import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import packages_distributions
from typing import Any

import torch
from torch import nn

from ..errors import AtomtuneError, UsageError, excerpt
from ..methods.textual_inversion import TOKEN_CHANGE
from ..models.components import PARTS
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
    options: OptimizerOptions,
    parameters: Iterable[nn.Parameter],
    device: torch.device,
    rates: Sequence[tuple[Collection[nn.Parameter], float]] = (),
) -> torch.optim.Optimizer:
    """The optimiser over parameters that are on `device` already.

    "adamw" (fused; on CUDA ready to be recorded as a CUDA graph), "adamw8bit" (Dettmers et al. 2022,
    bitsandbytes) or "prodigy" (Mishchenko & Defazio 2023, prodigyopt), which finds the step size itself: its lr is a
    factor, usually 1; or any class of an installed package, by its dotted name.

    Args:
        rates: parameters of these that have a learning rate of their own, see `own_rates`.

    Raises AtomtuneError where the package is missing, cannot work on the device or refuses the arguments.
    """
    require_package("optimizer", options.optimizer)
    if options.optimizer == "adamw8bit" and device.type != "cuda":
        raise AtomtuneError(f"--optimizer adamw8bit needs a CUDA device, not {device.type}", "use --optimizer adamw")
    kind, given = _class_of(options.optimizer), dict(map(_argument, options.optimizer_args))
    if kind is torch.optim.AdamW:
        on_cuda = device.type == "cuda"
        fused = True if on_cuda or device.type == "cpu" else None
        given = {"fused": fused, "capturable": on_cuda} | given
    trained: list[Any] = list(parameters)
    if rates:
        own = {id(parameter) for group, _ in rates for parameter in group}
        others = [parameter for parameter in trained if id(parameter) not in own]
        trained = [{"params": others}, *({"params": list(group), "lr": rate} for group, rate in rates)]
    closure = inspect.signature(kind.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise UsageError(f"{options.optimizer} takes each step by calling the model again", "use --optimizer adamw")
    takes = inspect.signature(kind).parameters
    if "weight_decay" in takes:
        given = {"weight_decay": options.weight_decay} | given
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # some print, and standard output is the result's
            made: torch.optim.Optimizer = kind(trained, lr=options.lr, **given)
    except (TypeError, ValueError, AssertionError) as problem:
        raise AtomtuneError(
            f"{options.optimizer} refuses its arguments: {excerpt(problem)}", f"it takes {', '.join(list(takes)[1:])}"
        ) from problem
    if options.ema and _has_modes(made):
        raise UsageError(f"{options.optimizer} averages what it trains itself", "leave --ema out")
    return made


def own_rates(
    options: OptimizerOptions, parameters: Mapping[str, nn.Parameter]
) -> list[tuple[list[nn.Parameter], float]]:
    """The parameters with a learning rate of their own, those of text encoders and of tokens, and these rates.

    Args:
        parameters: by their names in the file.
    """
    of_tokens = {name for name in parameters if name.endswith(f".{TOKEN_CHANGE}")}
    of_encoders = {name for name in parameters if name.partition(".")[0] in PARTS} - of_tokens
    chosen = ((of_encoders, options.text_encoder_lr), (of_tokens, options.token_lr))
    return [
        ([parameter for name, parameter in parameters.items() if name in names], rate)
        for names, rate in chosen
        if names and rate is not None
    ]


def _class_of(name: str) -> Any:
    """The class of an optimiser by its name. Raises UsageError where an installed package has none of that name."""
    if name == "adamw":
        return torch.optim.AdamW
    if name == "prodigy":
        from prodigyopt import Prodigy

        return Prodigy
    if name == "adamw8bit":
        from bitsandbytes.optim import AdamW8bit

        return AdamW8bit
    module, _, attribute = name.rpartition(".")
    # a record or a file of options may name it, so it must not be code that lies in the folder
    if module.partition(".")[0] not in packages_distributions():
        raise UsageError(f"--optimizer {excerpt(name)}: no such package is installed", "pip install it, or use adamw")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ImportError as problem:
        raise UsageError(f"--optimizer {excerpt(name)}: {excerpt(problem)}", _A_CLASS) from problem
    if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
        raise UsageError(f"--optimizer {excerpt(name)} is no optimizer of torch's kind", _A_CLASS)
    return found


_A_CLASS = "as in torch.optim.SGD, schedulefree.AdamWScheduleFree or pytorch_optimizer.Lion"


def _argument(text: str) -> tuple[str, Any]:
    """A name and its value: a literal of Python, else the text itself."""
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


@contextlib.contextmanager
def evaluated(optimizer: Any) -> Iterator[None]:
    """Within the context, the parameters are those that an optimiser has for use, where these differ from those that it
    trains, as the average of the schedule-free ones (Defazio et al. 2024)."""
    inner = getattr(optimizer, "optimizer", optimizer)  # accelerate's wrapper has both methods for every optimiser
    if not _has_modes(inner):
        yield
        return
    inner.eval()
    try:
        yield
    finally:
        inner.train()


def begin_training(optimizer: Any) -> None:
    """Tell an optimiser that has a mode for training that it begins."""
    inner = getattr(optimizer, "optimizer", optimizer)
    if _has_modes(inner):
        inner.train()


def _has_modes(optimizer: Any) -> bool:
    return callable(getattr(optimizer, "train", None)) and callable(getattr(optimizer, "eval", None))


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
    """The rate of the next step, that of `lr`; Prodigy's own estimate is part of it."""
    group = optimizer.param_groups[0]
    return float(group["lr"]) * float(group.get("d", 1.0))
