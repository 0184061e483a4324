"""Optimiser states of any make survive a checkpoint, and nothing but plain values and tensors goes in."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from atomtune.errors import AtomtuneError
from atomtune.files import store
from atomtune.files.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


def checkpoint(optimizer: dict[str, Any]) -> Checkpoint:
    parameter = {"a.delta_atoms": torch.ones(2, 2)}
    return Checkpoint(1, parameter, optimizer, {}, [0.1], 0.5, average={"a.delta_atoms": torch.zeros(2, 2)})


def test_states_of_any_make_come_back(tmp_path: Path) -> None:
    codes = torch.arange(4, dtype=torch.uint8)
    state = {0: {"step": 3, "state1": codes, "packed": {"absmax": torch.ones(2), "blocks": [64, None]}, "kind": "8bit"}}
    groups = [{"lr": torch.tensor(0.5), "d": 1e-6, "growth": math.inf, "betas": (0.9, 0.99), "params": [0]}]
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, checkpoint({"state": state, "param_groups": groups}))
    read = load_checkpoint(path)
    values = read.optimizer["state"][0]
    assert (values["step"], values["kind"], values["packed"]["blocks"]) == (3, "8bit", [64, None])
    assert torch.equal(values["state1"], codes)
    assert values["state1"].dtype == torch.uint8
    assert torch.equal(values["packed"]["absmax"], torch.ones(2))
    group = read.optimizer["param_groups"][0]
    assert (group["d"], group["growth"], group["betas"], group["params"]) == (1e-6, math.inf, [0.9, 0.99], [0])
    assert float(group["lr"]) == 0.5
    assert torch.equal(read.average["a.delta_atoms"], torch.zeros(2, 2))


@pytest.mark.parametrize("foreign", [object(), {1, 2}, {3: 4}, b"bytes"])
def test_what_would_need_pickle_is_refused(tmp_path: Path, foreign: object) -> None:
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(AtomtuneError, match="cannot be saved"):
        save_checkpoint(path, checkpoint({"state": {0: {"x": foreign}}, "param_groups": []}))
    assert not path.exists()


def test_a_tensor_that_nothing_names_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, checkpoint({"state": {}, "param_groups": []}))
    tensors, header = store.load(path, "checkpoint")
    kept = {key: value for key, value in header.items() if key not in ("format", "format_version", "sha256")}
    store.save(path, "checkpoint", {**tensors, "stray": torch.zeros(1)}, kept)
    with pytest.raises(AtomtuneError, match="stray"):
        load_checkpoint(path)
