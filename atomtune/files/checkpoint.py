"""Checkpoints of a training run: everything needed to go on as if it had not stopped."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import AtomtuneError, excerpt
from ..runtime.units import counted
from . import store
from .untrusted_json import parse_json

KIND = "checkpoint"

_TENSOR = "$tensor"  # stands, with its name, for a tensor inside JSON

_MOMENTS = (("exp_avg", "exp_avg_sq"), ("state1", "state2"))  # AdamW's and Prodigy's, and those of 8-bit AdamW

_MOVING = frozenset({"lr", "initial_lr", "foreach", "fused", "capturable", "d", "d_max", "d_numerator", "k"})
"""What a step, the schedule or the device changes in a group of parameters; all else stays as the run was begun."""

_SCHEDULED = frozenset({"base_lrs", "last_epoch", "_step_count", "_last_lr", "lr_lambdas"})
"""What a schedule needs to go on; versions of torch differ in what else is in its state."""


@dataclass(frozen=True)
class Checkpoint:
    """State after `step` optimiser steps.

    Attributes:
        step: steps taken.
        parameters: trained parameters by name, float32.
        optimizer: the optimiser's state dict, with parameters numbered in the order of `parameters`. Its values are
            tensors, numbers, text, None, and lists and dictionaries of them.
        scaler: the state of the loss scaler, empty without one.
        losses: the loss of every step so far.
        seconds: time spent in training so far.
        schedule: the state of the learning rate's schedule.
        average: moving averages of the parameters by name, empty without them.
        cached: digests of what the run takes from the cache, by name; empty where version 0.1 wrote the checkpoint.
        held_out: the held-out loss by step; best: the parameters where it was lowest, where these are kept.
    """

    step: int
    parameters: dict[str, Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    losses: list[float]
    seconds: float
    schedule: dict[str, Any] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    cached: dict[str, str] = field(default_factory=dict)
    held_out: dict[str, float] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, atomically; the one before stays until the new one is complete.

    Raises AtomtuneError where the optimiser's state holds something that is not known here.
    """
    tensors: dict[str, Tensor] = {f"parameter.{name}": value for name, value in checkpoint.parameters.items()}
    tensors.update({f"average.{name}": value for name, value in checkpoint.average.items()})
    tensors.update({f"best.{name}": value for name, value in checkpoint.best.items()})
    tensors["losses"] = torch.tensor(checkpoint.losses, dtype=torch.float64)
    state = {str(index): values for index, values in checkpoint.optimizer["state"].items()}
    metadata = {
        "step": str(checkpoint.step),
        "seconds": repr(checkpoint.seconds),
        "order": json.dumps(list(checkpoint.parameters)),
        "optimizer_state": json.dumps(_pack(state, "optimizer", tensors)),
        "param_groups": json.dumps(_pack(checkpoint.optimizer["param_groups"], "group", tensors)),
        "scaler": json.dumps(checkpoint.scaler),
        "schedule": json.dumps(_pack(checkpoint.schedule, "schedule", tensors)),
        "cached": json.dumps(checkpoint.cached),
        "held_out": json.dumps(checkpoint.held_out),
    }
    store.save(path, KIND, tensors, metadata)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint back. Raises AtomtuneError where it is missing, damaged or incomplete."""
    tensors, header = store.load(path, KIND)
    try:
        state = _unpack(parse_json(header["optimizer_state"]), tensors)
        checkpoint = Checkpoint(
            step=int(header["step"]),
            parameters={name: tensors.pop(f"parameter.{name}") for name in parse_json(header["order"])},
            optimizer={
                "state": {int(index): values for index, values in state.items()},
                "param_groups": _unpack(parse_json(header["param_groups"]), tensors),
            },
            scaler=parse_json(header["scaler"]),
            losses=tensors.pop("losses").tolist(),
            seconds=float(header["seconds"]),
            schedule=_unpack(parse_json(header.get("schedule", "{}")), tensors),
            average={name[8:]: tensors.pop(name) for name in list(tensors) if name.startswith("average.")},
            cached=parse_json(header.get("cached", "{}")),
            held_out=parse_json(header.get("held_out", "{}")),
            best={name[5:]: tensors.pop(name) for name in list(tensors) if name.startswith("best.")},
        )
        if tensors:
            raise ValueError(f"nothing names the tensor {min(tensors)}")
        _check(checkpoint)
        return checkpoint
    except (KeyError, ValueError, TypeError, AttributeError) as problem:
        raise AtomtuneError(f"{path} is incomplete ({excerpt(problem)})", "start again with --overwrite") from None


def _check(checkpoint: Checkpoint) -> None:
    """Raise ValueError where the parts are not of the right types or contradict each other."""
    losses, groups = checkpoint.losses, checkpoint.optimizer["param_groups"]
    if not (isinstance(losses, list) and all(type(loss) is float for loss in losses)):
        raise ValueError("the losses are no row of numbers")
    if checkpoint.step != len(losses):
        raise ValueError(f"it has {counted(len(losses), 'loss')} at step {excerpt(checkpoint.step)}")
    if not (math.isfinite(checkpoint.seconds) and checkpoint.seconds >= 0.0):
        raise ValueError("the time is no number of seconds")
    if not (isinstance(checkpoint.scaler, dict) and isinstance(checkpoint.schedule, dict)):
        raise ValueError("a state is no dictionary")
    if not (isinstance(checkpoint.cached, dict) and all(isinstance(v, str) for v in checkpoint.cached.values())):
        raise ValueError("the digests of the cache are no texts")
    if not (isinstance(groups, list) and all(isinstance(group, dict) for group in groups)):
        raise ValueError("the groups of parameters are no dictionaries")
    if not (isinstance(checkpoint.held_out, dict) and all(map(_is_measured, checkpoint.held_out.items()))):
        raise ValueError("the held-out losses are no numbers by step")
    for values in checkpoint.optimizer["state"].values():
        if not isinstance(values, dict):
            raise ValueError("the optimiser's state is no dictionary")


def _is_measured(entry: tuple[Any, Any]) -> bool:
    step, loss = entry
    return isinstance(step, str) and step.isdecimal() and len(step) < 12 and type(loss) is float and math.isfinite(loss)


def check_fits(
    checkpoint: Checkpoint,
    parameters: Mapping[str, Tensor],
    optimizer: Mapping[str, Any],
    schedule: Mapping[str, Any],
    averaged: bool,
    known_optimizer: bool = True,
) -> None:
    """Raise AtomtuneError where a run cannot go on from a checkpoint.

    Args:
        known_optimizer: that its state is one of those that are known here; of any other optimiser what moves is not
            known, nor of which shapes its tensors are.
        parameters, averaged: what the run trains, and whether it averages them.
        optimizer, schedule: the run's own state dicts, from before the first step.
    """
    shapes = _shapes(parameters)
    is_whole = _shapes(checkpoint.best) in ({}, shapes)
    averages = shapes if averaged else {}
    if _shapes(checkpoint.parameters) != shapes or _shapes(checkpoint.average) != averages or not is_whole:
        raise AtomtuneError("the checkpoint is of other layers or shapes than the run", "start again with --overwrite")
    groups, own = checkpoint.optimizer["param_groups"], optimizer["param_groups"]
    sizes = list(shapes.values())
    if not (
        len(groups) == len(own)
        and all(_is_group_of(mine, its, known_optimizer) for mine, its in zip(own, groups, strict=True))
        and all(
            _is_state_of(sizes, *entry) if known_optimizer else 0 <= entry[0] < len(sizes)
            for entry in checkpoint.optimizer["state"].items()
        )
        and _SCHEDULED & schedule.keys() <= checkpoint.schedule.keys()
        and same_kind(checkpoint.schedule, {key: own for key, own in schedule.items() if key in checkpoint.schedule})
        and checkpoint.schedule.get("lr_lambdas") == schedule.get("lr_lambdas")
    ):
        raise AtomtuneError(
            "the checkpoint is of another optimiser or schedule than the run", "start again with --overwrite"
        )


def same_kind(stored: Any, own: Any) -> bool:
    """Whether a value out of a file can take the place of the program's own; dictionaries may have more keys."""
    if isinstance(own, Mapping):
        return isinstance(stored, Mapping) and all(
            key in stored and same_kind(stored[key], value) for key, value in own.items()
        )
    if isinstance(own, list | tuple):
        return isinstance(stored, list) and len(stored) == len(own) and all(map(same_kind, stored, own))
    if own is None or isinstance(own, bool):  # a switch; None leaves the choice to torch
        return stored is None or isinstance(stored, bool)
    if isinstance(own, str):
        return isinstance(stored, str)
    if isinstance(stored, Tensor):
        return stored.numel() == 1
    return isinstance(stored, float) or (type(stored) is int and abs(stored) < 2**63)


def _is_group_of(own: Mapping[str, Any], stored: Mapping[str, Any], known_optimizer: bool) -> bool:
    def settles(key: str) -> bool:
        value = list(own[key]) if isinstance(own[key], tuple) else own[key]
        may_move = key in _MOVING or not known_optimizer
        return same_kind(stored[key], value) and (may_move or bool(stored[key] == value))

    # what another version of the optimiser does not know yet is the run's own
    return stored.get("params") == own["params"] and all(settles(key) for key in own if key in stored)


def _is_state_of(sizes: Sequence[tuple[int, ...]], index: int, values: Mapping[str, Any]) -> bool:
    if not 0 <= index < len(sizes) or not same_kind(values.get("step"), 0):
        return False
    return any(
        all(isinstance(values.get(key), Tensor) and tuple(values[key].shape) == sizes[index] for key in moments)
        for moments in _MOMENTS
    )


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors.items()}


def _pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """A value as JSON; the tensors inside go to `tensors`, under names that begin with `name`."""
    if isinstance(value, Tensor):
        tensors[name] = value
        return {_TENSOR: name}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _pack(item, f"{name}.{key}", tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_pack(item, f"{name}.{place}", tensors) for place, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise AtomtuneError(
        f"the optimiser's state holds a {type(value).__name__} ({name}), which cannot be saved", "use --optimizer adamw"
    )


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The way back from `_pack`; takes what it finds out of `tensors`."""
    if isinstance(value, dict):
        if set(value) == {_TENSOR}:
            return tensors.pop(value[_TENSOR])
        return {key: _unpack(item, tensors) for key, item in value.items()}
    return [_unpack(item, tensors) for item in value] if isinstance(value, list) else value


def parameters_of(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of parameters on the CPU, detached."""
    return {name: value.detach().cpu().clone() for name, value in named.items()}
