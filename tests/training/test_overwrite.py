"""`--overwrite`: the old run stays until the new one is complete, and what a run did not write stays for ever."""

import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from atomtune.errors import AtomtuneError, Interrupted, UsageError
from atomtune.files.atoms_file import load_atoms
from atomtune.files.manifest import NAME as MANIFEST
from atomtune.training import overwrite
from atomtune.training.loss import Objective
from atomtune.training.options import TrainOptions
from atomtune.training.overwrite import replacement, settled, take_place
from atomtune.training.run_folder import RunFolder
from atomtune.training.run_lock import LOCK
from atomtune.training.train import train
from stopping import StopAfter

Options = Callable[..., TrainOptions]


def contents(folder: Path) -> dict[str, bytes]:
    """The files below a folder but for the lock and the manifest, which stay."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name not in (LOCK, MANIFEST)]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def digest(run: Path) -> str:
    return load_atoms(run / "castle.safetensors")[2]


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make the loss of a later step NaN, by the number of that step."""

    def from_step(number: int) -> None:
        loss, calls = Objective.loss, [0]

        def poisoned(self: Objective, *tensors: torch.Tensor) -> torch.Tensor:
            calls[0] += 1
            return loss(self, *tensors) * (float("nan") if calls[0] == number else 1.0)

        monkeypatch.setattr(Objective, "loss", poisoned)

    return from_step


# what others put there


@pytest.mark.parametrize(
    "name",
    [
        "log.jsonl",
        "castle.safetensors",
        "run.json",
        "loss.svg",
        "checkpoint.safetensors",
        "steps/step-000002.safetensors",
    ],
)
@pytest.mark.parametrize("how", [{}, {"overwrite": True}], ids=["new", "overwrite"])
def test_files_of_others_that_a_run_would_replace_are_named_and_stay(
    options: Options, tmp_path: Path, name: str, how: dict[str, bool]
) -> None:
    path = tmp_path / "project" / name
    path.parent.mkdir(parents=True)
    path.write_text('{"mine": true}\n')
    with pytest.raises(UsageError, match=f"holds {name}, which atomtune train did not write"):
        train(options(), tmp_path / "project", **how)
    assert contents(tmp_path / "project") == {name: b'{"mine": true}\n'}


def test_files_of_others_that_are_in_nobodys_way_stay(options: Options, tmp_path: Path) -> None:
    mine = ["steps/notes.txt", "wandb/run/x", "tensorboard/events", "previews/castle.png", "notes.md", ".lock"]
    for name in mine:
        path = tmp_path / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    train(options(), tmp_path / "run", overwrite=True)
    (tmp_path / "run" / "steps" / "later.txt").write_text("mine")
    train(options(seed=1, steps=2), tmp_path / "run", overwrite=True)
    found = contents(tmp_path / "run")
    assert {name for name, content in found.items() if content == b"mine"} == {*mine, "steps/later.txt"}
    assert [name for name in sorted(found) if name.startswith("steps/step")] == ["steps/step-000002.safetensors"]


@pytest.mark.skipif(os.name != "posix", reason="links need rights there")
@pytest.mark.parametrize("name", ["steps", "log.jsonl", "previews", ".replacement"])
def test_links_are_not_followed_and_stay(options: Options, tmp_path: Path, name: str) -> None:
    train(options(steps=2), tmp_path / "run")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "image.png").write_text("mine")
    if (tmp_path / "run" / name).is_dir():
        shutil.rmtree(tmp_path / "run" / name)
    (tmp_path / "run" / name).unlink(missing_ok=True)
    (tmp_path / "run" / name).symlink_to(outside)
    with pytest.raises(UsageError, match=re.escape(name) + "(, which atomtune train did not write| is a link)"):
        train(options(steps=2), tmp_path / "run", overwrite=True)
    assert (tmp_path / "run" / name).is_symlink()
    assert contents(outside) == {"image.png": b"mine"}


# the old result


def test_a_new_run_takes_the_place_of_the_old_one_and_leaves_nothing_else(options: Options, tmp_path: Path) -> None:
    train(options(steps=6), tmp_path / "run")
    whole = train(options(steps=4, seed=1), tmp_path / "whole")
    result = train(options(steps=4, seed=1), tmp_path / "run", overwrite=True)
    assert (result.sha256, result.atoms_file) == (whole.sha256, tmp_path / "run" / "castle.safetensors")
    assert contents(tmp_path / "run").keys() == contents(tmp_path / "whole").keys()
    assert [path.name for path in RunFolder(tmp_path / "run").manifest.foreign()] == [LOCK]
    longer = train(options(steps=6), tmp_path / "run", resume=True, explicit=frozenset({"steps"}))
    assert longer.sha256 == train(options(steps=6, seed=1), tmp_path / "longer").sha256


def under_the_former_name(run: Path) -> Path:
    """Make a run one that was begun when all results were called atoms.safetensors."""
    (run / "castle.safetensors").rename(run / "atoms.safetensors")
    manifest = run / MANIFEST
    manifest.write_text(manifest.read_text().replace("castle.safetensors", "atoms.safetensors"))
    return run


def test_a_run_under_the_former_name_goes_on_under_it_and_is_replaced_by_one_under_its_own(
    options: Options, tmp_path: Path
) -> None:
    train(options(steps=4), tmp_path / "run")
    run = under_the_former_name(tmp_path / "run")
    longer = train(options(steps=6), run, resume=True, explicit=frozenset({"steps"}))
    assert (longer.atoms_file, longer.sha256) == (run / "atoms.safetensors", load_atoms(run / "atoms.safetensors")[2])
    assert not (run / "castle.safetensors").exists()
    again = train(options(steps=2), run, overwrite=True)
    assert (again.atoms_file, again.sha256) == (run / "castle.safetensors", digest(run))
    assert not (run / "atoms.safetensors").exists()


def test_a_base_model_with_nan_costs_nothing(options: Options, tmp_path: Path, tiny_model: Path) -> None:
    train(options(), tmp_path / "run")
    before = contents(tmp_path / "run")
    bad = tmp_path / "bad"
    shutil.copytree(tiny_model, bad)
    (file,) = (bad / "unet").glob("*.safetensors")
    weights = load_file(file)
    name = next(name for name, weight in weights.items() if weight.dim() == 4 and weight.shape[-1] == 3)
    weights[name][0, 0, 0, 0] = float("nan")
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(AtomtuneError):
        train(options(model=str(bad)), tmp_path / "run", overwrite=True)
    assert contents(tmp_path / "run") == before


def test_a_loss_that_becomes_nan_before_the_first_checkpoint_costs_nothing(
    options: Options, tmp_path: Path, poison: Callable[[int], None]
) -> None:
    train(options(), tmp_path / "run")
    before = contents(tmp_path / "run")
    poison(3)
    with pytest.raises(AtomtuneError, match="the loss became nan at step 3"):
        train(options(checkpoint_every=10, seed=1), tmp_path / "run", overwrite=True)
    assert contents(tmp_path / "run") == before


def test_a_new_run_that_stops_later_can_go_on_beside_the_old_result(
    options: Options, tmp_path: Path, poison: Callable[[int], None]
) -> None:
    old = train(options(), tmp_path / "run")
    whole = train(options(seed=1), tmp_path / "whole")
    poison(4)
    with pytest.raises(AtomtuneError, match="the loss became nan at step 4"):
        train(options(seed=1), tmp_path / "run", overwrite=True)
    assert digest(tmp_path / "run") == old.sha256
    with pytest.raises(Interrupted) as stopped:
        train(options(seed=1), tmp_path / "run", resume=True, events=StopAfter(1))
    assert (stopped.value.hint or "").endswith(f"--output {tmp_path / 'run'} --resume")
    assert digest(tmp_path / "run") == old.sha256
    resumed = train(options(seed=1), tmp_path / "run", resume=True)
    assert (resumed.resumed_from, resumed.sha256) == (3, whole.sha256)
    assert digest(tmp_path / "run") == whole.sha256
    assert contents(tmp_path / "run").keys() == contents(tmp_path / "whole").keys()


def test_overwrite_starts_again_where_an_earlier_one_did_not_end(options: Options, tmp_path: Path) -> None:
    train(options(), tmp_path / "run")
    with pytest.raises(Interrupted):
        train(options(seed=1), tmp_path / "run", overwrite=True, events=StopAfter(3))
    result = train(options(seed=2), tmp_path / "run", overwrite=True)
    assert (result.resumed_from, result.sha256) == (0, train(options(seed=2), tmp_path / "whole").sha256)
    assert contents(tmp_path / "run").keys() == contents(tmp_path / "whole").keys()


@pytest.mark.parametrize("moment", range(12))
def test_a_process_that_is_killed_while_the_new_run_takes_its_place_leaves_one_of_them(
    moment: int, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    old, new = (tmp_path / name for name in ("run", "new"))
    digests = {train(options(spec=options().spec, steps=steps), run).sha256 for run, steps in ((old, 4), (new, 2))}
    after = contents(new)
    RunFolder(old).manifest.add_folder(replacement(RunFolder(old)).path)
    new.rename(replacement(RunFolder(old)).path)
    (replacement(RunFolder(old)).path / LOCK).unlink()
    left = [moment]

    def dying(call: Callable[..., None]) -> Callable[..., None]:
        def wrapped(*arguments: object, **named: object) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            call(*arguments, **named)

        return wrapped

    with monkeypatch.context() as patch, suppress(Killed):
        patch.setattr(overwrite.os, "replace", dying(os.replace))
        patch.setattr(Path, "unlink", dying(Path.unlink))
        patch.setattr(Path, "rmdir", dying(Path.rmdir))
        take_place(replacement(RunFolder(old)), RunFolder(old))
    assert digest(old) in digests
    with settled(old):
        assert contents(old) == after
        assert not replacement(RunFolder(old)).path.exists()


@pytest.mark.parametrize("of_another_command", [None, '"report.html"\n'])
def test_a_run_of_a_version_without_manifests_is_replaced_too(
    of_another_command: str | None, options: Options, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(options(steps=6), run)
    (run / MANIFEST).unlink()
    if of_another_command is not None:
        (run / MANIFEST).write_text(of_another_command)
    (run / "strip").mkdir()
    (run / "strip" / "step-000002-0.png").write_text("old")
    for name in ("strip/mine.png", "steps/mine.txt"):
        (run / name).write_text("mine")
    result = train(options(steps=2, seed=1), run, overwrite=True)
    assert digest(run) == result.sha256
    expected = {"strip/mine.png", "steps/mine.txt", "steps/step-000002.safetensors"}
    assert {name for name in contents(run) if "/" in name} == expected
