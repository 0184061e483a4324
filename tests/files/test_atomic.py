"""Writing without loss, checkpoints that go on to the last bit, and what `describe` tells."""

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from atomtune.core.decompose import decompose
from atomtune.errors import AtomtuneError
from atomtune.files import store, temporary
from atomtune.files.atomic import write_atomically, write_text
from atomtune.files.atoms_file import AtomsInfo, save_atoms
from atomtune.files.cache import cache_folder
from atomtune.files.checkpoint import Checkpoint, load_checkpoint, parameters_of, save_checkpoint
from atomtune.files.decomposition_file import save_decomposition
from atomtune.files.describe import describe
from atomtune.methods.specs import PRESETS, AtomsSpec

# writing


def test_a_write_makes_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "castle" / "note.json"
    write_text(path, "naïve ☃")
    write_text(path, "second")
    assert path.read_text(encoding="utf-8") == "second"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_written_file_has_the_usual_permissions(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "note", "x")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "note").stat().st_mode) == 0o640


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def full_disk_of_safetensors(*_: object, **__: object) -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    ("where", "name", "failure"),
    [
        (os, "replace", full_disk),
        (os, "fsync", full_disk),
        (store, "save_file", full_disk),
        (store, "save_file", full_disk_of_safetensors),
        (temporary.tempfile, "mkdtemp", full_disk),
    ],
)
def test_the_old_file_survives_a_failed_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: object, name: str, failure: Callable[..., None]
) -> None:
    path = tmp_path / "x.safetensors"
    store.save(path, "atoms", {"a": torch.ones(3)}, {})
    before = path.read_bytes()
    monkeypatch.setattr(where, name, failure)
    with pytest.raises(AtomtuneError, match=r"cannot write .*x\.safetensors: .*No space left on device") as caught:
        store.save(path, "atoms", {"a": torch.zeros(3)}, {})
    assert caught.value.hint
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "note"
    path.write_text("old")

    def interrupted(temporary: Path) -> None:
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, interrupted)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    for path in (tmp_path / "file" / "note", tmp_path / "folder"):
        with pytest.raises(AtomtuneError, match="cannot write"):
            write_text(path, "y")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("ATOMTUNE_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("ATOMTUNE_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "atomtune"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == Path.home() / ".cache" / "atomtune"


# checkpoints


def training() -> tuple[dict[str, nn.Parameter], torch.optim.Optimizer]:
    torch.manual_seed(0)
    parameters = {name: nn.Parameter(torch.randn(3, 4)) for name in ("b.delta_atoms", "a.0.delta_mixing")}
    return parameters, torch.optim.AdamW(parameters.values(), lr=1e-3, betas=(0.9, 0.99))


def take_steps(parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        loss = sum((p - step).square().sum() for p in parameters.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("done", [0, 1, 5])
def test_a_checkpoint_goes_on_to_the_last_bit(tmp_path: Path, done: int) -> None:
    path = tmp_path / "checkpoint.safetensors"
    parameters, optimizer = training()
    take_steps(parameters, optimizer, range(done))
    losses = [0.1 * i + 1e-17 for i in range(done)]
    state = Checkpoint(done, parameters_of(parameters), optimizer.state_dict(), {"scale": 65536.0}, losses, 1 / 3)
    save_checkpoint(path, state)
    take_steps(parameters, optimizer, range(done, 9))

    read = load_checkpoint(path)
    assert (read.step, read.losses, read.seconds, read.scaler) == (done, losses, 1 / 3, {"scale": 65536.0})
    again, resumed = training()
    assert list(read.parameters) == list(again)
    with torch.no_grad():
        for name, parameter in again.items():
            parameter.copy_(read.parameters[name])
    resumed.load_state_dict(read.optimizer)
    take_steps(again, resumed, range(done, 9))
    assert all(torch.equal(again[name], parameter) for name, parameter in parameters.items())


def test_a_checkpoint_copies_what_goes_on_changing() -> None:
    parameters, _ = training()
    held = parameters_of(parameters)
    with torch.no_grad():
        parameters["b.delta_atoms"].zero_()
    assert torch.count_nonzero(held["b.delta_atoms"]) == 12
    assert not held["b.delta_atoms"].requires_grad


def test_an_incomplete_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    good = {"step": "1", "seconds": "1", "order": "[]", "optimizer_state": "{}", "param_groups": "[]", "scaler": "{}"}
    for bad in (
        *({k: v for k, v in good.items() if k != name} for name in good),
        {**good, "order": '["gone"]'},
        {**good, "order": "5"},
        {**good, "step": "x"},
        {**good, "optimizer_state": "[]"},
        {**good, "optimizer_state": '{"x": {}}'},
        {**good, "scaler": "{"},
    ):
        store.save(path, "checkpoint", {"losses": torch.zeros(1)}, bad)
        with pytest.raises(AtomtuneError, match="is incomplete"):
            load_checkpoint(path)
    store.save(path, "checkpoint", {"optimizer.x.y": torch.zeros(1), "losses": torch.zeros(1)}, good)
    with pytest.raises(AtomtuneError, match="is incomplete"):
        load_checkpoint(path)


# describe


def test_describe_an_atoms_file(tmp_path: Path) -> None:
    path = tmp_path / "atoms.safetensors"
    info = AtomsInfo(
        *("atoms", "c2", PRESETS["c2"].to_dict(), "pocket", "ab" * 32, "stable-diffusion-v1"),
        *("castle", "castle", "sks", ["a photo of a sks castle"], 300, 63, {"lr": 1e-3}),
    )
    names = ("conv_in.atoms", "conv_in.delta_atoms", "down.0.atoms", "down.0.delta_atoms")
    digest = save_atoms(path, info, {name: torch.ones(2, 9).half() for name in names})
    facts = describe(path)
    assert facts.pop("created")
    assert {**facts, "created": ""} == {
        **vars(replace(info, created="")),
        "kind": "atoms",
        "path": str(path),
        "bytes": path.stat().st_size,
        "sha256": digest,
        "trigger": "sks castle",
        "layers": 2,
    }


def test_describe_a_decomposition(tmp_path: Path) -> None:
    path = tmp_path / "decomposition.safetensors"
    spec = AtomsSpec(atoms=4, tile=4)
    part = decompose(torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0)), 4, 4, 0.05)
    save_decomposition(path, {"conv": part}, "pocket", "cd" * 32, spec.to_dict(), {})
    facts = describe(path)
    assert (facts["kind"], facts["preset"], facts["base"]) == ("decomposition", "custom", "pocket")
    assert (facts["parameters"], facts["coefficients"], facts["layers"]) == (4 * 9, 8 * 4 * 4, 1)
    assert facts["spec"] == spec.to_dict()
    assert len(facts["sha256"]) == 64


def test_describe_refuses_what_it_cannot_show(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    store.save(path, "checkpoint", {"a": torch.zeros(1)}, {})
    with pytest.raises(AtomtuneError, match="is a checkpoint"):
        describe(path)
    for other, says in ((tmp_path / "gone", "there is no file"), (tmp_path, "is a folder, not a file")):
        with pytest.raises(AtomtuneError, match=says):
            describe(other)
