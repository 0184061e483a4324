"""Checkpoints of a training run: everything needed to go on as if it had not stopped."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import AtomtuneError
from . import store

KIND = "checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """State after `step` optimiser steps.

    Attributes:
        step: steps taken.
        parameters: trained parameters by name, float32.
        optimizer: the optimiser's state dict, with parameters numbered in the order of `parameters`.
        scaler: the state of the loss scaler, empty without one.
        losses: the loss of every step so far.
        seconds: time spent in training so far.
    """

    step: int
    parameters: dict[str, Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    losses: list[float]
    seconds: float


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, atomically; the one before stays until the new one is complete."""
    tensors: dict[str, Tensor] = {f"parameter.{name}": value for name, value in checkpoint.parameters.items()}
    plain: dict[str, dict[str, Any]] = {}
    for index, state in checkpoint.optimizer["state"].items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = value
            else:
                plain.setdefault(str(index), {})[key] = value
    tensors["losses"] = torch.tensor(checkpoint.losses, dtype=torch.float64)
    metadata = {
        "step": str(checkpoint.step),
        "seconds": repr(checkpoint.seconds),
        "order": json.dumps(list(checkpoint.parameters)),
        "optimizer_state": json.dumps(plain),
        "param_groups": json.dumps(checkpoint.optimizer["param_groups"]),
        "scaler": json.dumps(checkpoint.scaler),
    }
    store.save(path, KIND, tensors, metadata)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint back. Raises AtomtuneError where it is missing, damaged or incomplete."""
    tensors, header = store.load(path, KIND)
    try:
        state: dict[int, dict[str, Any]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".", 2)
                state.setdefault(int(index), {})[key] = tensor
        for index, values in json.loads(header["optimizer_state"]).items():
            state.setdefault(int(index), {}).update(values)
        return Checkpoint(
            step=int(header["step"]),
            parameters={name: tensors[f"parameter.{name}"] for name in json.loads(header["order"])},
            optimizer={"state": state, "param_groups": json.loads(header["param_groups"])},
            scaler=json.loads(header["scaler"]),
            losses=tensors["losses"].tolist(),
            seconds=float(header["seconds"]),
        )
    except (KeyError, ValueError, TypeError) as problem:
        raise AtomtuneError(f"{path} is incomplete ({problem})", "start again with --overwrite") from None


def parameters_of(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of parameters on the CPU, detached."""
    return {name: value.detach().cpu().clone() for name, value in named.items()}
