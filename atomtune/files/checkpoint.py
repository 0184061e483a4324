"""Checkpoints of a training run: everything needed to go on as if it had not stopped."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import AtomtuneError
from . import store

KIND = "checkpoint"

_TENSOR = "$tensor"  # stands, with its name, for a tensor inside JSON


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
    """

    step: int
    parameters: dict[str, Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    losses: list[float]
    seconds: float
    schedule: dict[str, Any] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, atomically; the one before stays until the new one is complete.

    Raises AtomtuneError where the optimiser's state holds something that is not known here.
    """
    tensors: dict[str, Tensor] = {f"parameter.{name}": value for name, value in checkpoint.parameters.items()}
    tensors.update({f"average.{name}": value for name, value in checkpoint.average.items()})
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
    }
    store.save(path, KIND, tensors, metadata)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint back. Raises AtomtuneError where it is missing, damaged or incomplete."""
    tensors, header = store.load(path, KIND)
    try:
        state = _unpack(json.loads(header["optimizer_state"]), tensors)
        checkpoint = Checkpoint(
            step=int(header["step"]),
            parameters={name: tensors.pop(f"parameter.{name}") for name in json.loads(header["order"])},
            optimizer={
                "state": {int(index): values for index, values in state.items()},
                "param_groups": _unpack(json.loads(header["param_groups"]), tensors),
            },
            scaler=json.loads(header["scaler"]),
            losses=tensors.pop("losses").tolist(),
            seconds=float(header["seconds"]),
            schedule=_unpack(json.loads(header.get("schedule", "{}")), tensors),
            average={name[8:]: tensors.pop(name) for name in list(tensors) if name.startswith("average.")},
        )
        if tensors:
            raise ValueError(f"nothing names the tensor {min(tensors)}")
        return checkpoint
    except (KeyError, ValueError, TypeError, AttributeError) as problem:
        raise AtomtuneError(f"{path} is incomplete ({problem})", "start again with --overwrite") from None


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
