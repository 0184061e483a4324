"""Optimiser states of any make survive a checkpoint, and nothing but plain values and tensors goes in."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from atomtune.errors import AtomtuneError
from atomtune.files import store
from atomtune.files.checkpoint import Checkpoint, check_fits, load_checkpoint, parameters_of, save_checkpoint


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


# what a run goes on from


def begun() -> tuple[dict[str, nn.Parameter], torch.optim.Optimizer, Any]:
    parameters = {name: nn.Parameter(torch.ones(2, 3)) for name in ("a.delta_atoms", "b.delta_atoms")}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-3)
    return parameters, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 / (1 + step))


def stepped(path: Path) -> Checkpoint:
    """The checkpoint of a run of one step, as it comes back from the disk."""
    parameters, optimizer, schedule = begun()
    sum(parameter.square().sum() for parameter in parameters.values()).backward()
    optimizer.step()
    schedule.step()
    held = parameters_of(parameters)
    save_checkpoint(path, Checkpoint(1, held, optimizer.state_dict(), {}, [0.5], 1.0, schedule.state_dict()))
    return load_checkpoint(path)


def check(state: Checkpoint) -> None:
    parameters, optimizer, schedule = begun()
    check_fits(state, parameters, optimizer.state_dict(), schedule.state_dict(), averaged=False)


def test_a_run_goes_on_from_its_own_checkpoint(tmp_path: Path) -> None:
    check(stepped(tmp_path / "checkpoint"))


def test_what_another_version_of_torch_lacks_or_adds_does_no_harm(tmp_path: Path) -> None:
    state = stepped(tmp_path / "checkpoint")
    (group,) = state.optimizer["param_groups"]
    del group["capturable"]
    group["invented"] = 3
    del state.schedule["_get_lr_called_within_step"]
    state.schedule["invented"] = 3
    check(state)


def group_value(**values: Any) -> Callable[[Checkpoint], None]:
    return lambda state: state.optimizer["param_groups"][0].update(values)


def state_value(**values: Any) -> Callable[[Checkpoint], None]:
    return lambda state: state.optimizer["state"][0].update(values)


def schedule_value(**values: Any) -> Callable[[Checkpoint], None]:
    return lambda state: state.schedule.update(values)


@pytest.mark.parametrize(
    "damage",
    [
        group_value(lr="fast"),
        group_value(lr=torch.ones(2)),
        group_value(lr=10**400),
        group_value(betas=[5.0, 5.0]),
        group_value(betas=torch.ones(2)),
        group_value(weight_decay=True),
        group_value(params=[1, 0]),
        group_value(params=[0]),
        lambda state: state.optimizer["param_groups"].append({}),
        lambda state: state.optimizer["param_groups"].clear(),
        lambda state: state.optimizer["state"].update({2: state.optimizer["state"][0]}),
        lambda state: state.optimizer["state"].update({-1: state.optimizer["state"][0]}),
        lambda state: state.optimizer["state"][0].pop("exp_avg"),
        state_value(exp_avg=torch.ones(3, 2)),
        state_value(exp_avg_sq=0.5),
        state_value(step=torch.ones(2)),
        schedule_value(last_epoch="1"),
        schedule_value(lr_lambdas=[{"__class__": "x"}]),
        lambda state: state.schedule.pop("last_epoch"),
        lambda state: state.parameters.update({"a.delta_atoms": torch.ones(3, 2)}),
        lambda state: state.average.update({"a.delta_atoms": torch.ones(2, 3)}),
    ],
)
def test_a_run_goes_on_from_no_other(tmp_path: Path, damage: Callable[[Checkpoint], object]) -> None:
    state = stepped(tmp_path / "checkpoint")
    damage(state)
    with pytest.raises(AtomtuneError, match="the checkpoint is of") as refused:
        check(state)
    assert refused.value.hint == "start again with --overwrite"
