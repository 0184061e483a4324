"""Runs that begin with an atoms file (`--init`): the start is what the file makes of the base model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from atomtune.errors import AtomtuneError, Interrupted, UsageError
from atomtune.files.atoms_file import load_atoms
from atomtune.methods.specs import PRESETS, AtomsSpec, RankSpec
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.runtime.progress import Events
from atomtune.sampling.apply import merge_atoms
from atomtune.sampling.changes import read_atoms
from atomtune.training.loaded_base import LoadedBase
from atomtune.training.loop import Loop
from atomtune.training.options import TrainOptions
from atomtune.training.record import TrainResult
from atomtune.training.run_folder import RunFolder
from atomtune.training.train import train as _train
from made import made_atoms
from stopping import StopAfter

Options = Callable[..., TrainOptions]

BASE = LoadedBase(keep=True)

STANDING: dict[str, Any] = {"steps": 1, "lr": 1e-12}
"""A run that ends where it begins."""


def train(wanted: TrainOptions, output: Path, **rest: Any) -> TrainResult:
    """A run; all runs of this file share the base models that they load."""
    return _train(wanted, output, loaded=BASE, **rest)


class Warnings(Events):
    def __init__(self) -> None:
        self.said: list[str] = []

    def warn(self, text: str) -> None:
        self.said.append(text)


def tensors(path: Path) -> dict[str, Tensor]:
    return load_atoms(path)[0]


@pytest.mark.parametrize("kind", ["c1", "c3", "lora"])
def test_a_run_begins_where_the_file_ended(kind: str, options: Options, tmp_path: Path) -> None:
    chosen: dict[str, Any] = {"spec": PRESETS[kind]} if kind != "lora" else {"method": "lora", "spec": RankSpec(rank=2)}
    first = train(options(**chosen, lr=1e-2, steps=2, train_token=True), tmp_path / "first")
    wanted = options(**chosen, **STANDING, train_token=True, init=tmp_path / "first")
    again = train(wanted, tmp_path / "again")
    before, after = tensors(first.atoms_file), tensors(again.atoms_file)
    assert before.keys() == after.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=2e-3, atol=2e-6, msg=name)
    assert load_atoms(again.atoms_file)[1].training["init"] == first.sha256
    # noise and images of a step follow from the seed alone, so the first loss is that of the merged model
    fresh = train(options(**chosen, **STANDING, train_token=True), tmp_path / "fresh")
    assert again.final_loss < fresh.final_loss


def test_nothing_but_the_start_differs_from_the_merged_model(
    options: Options, tmp_path: Path, tiny_model: Path
) -> None:
    file = made_atoms(tmp_path / "made.safetensors", tiny_model, preset="c2")
    pipeline = load_pipeline(resolve(str(tiny_model)))
    merge_atoms(pipeline, read_atoms([(file, 1.0)]), Events())
    pipeline.save_pretrained(tmp_path / "merged")
    ours = train(options(**STANDING, init=file), tmp_path / "ours")
    theirs = train(options(**STANDING, model=str(tmp_path / "merged")), tmp_path / "theirs")
    assert ours.final_loss == pytest.approx(theirs.final_loss, rel=1e-4)


def test_another_base_model_is_a_warning_and_the_change_is_carried_over(
    options: Options, tmp_path: Path, tiny_model: Path, other_model: Path
) -> None:
    file = made_atoms(tmp_path / "made.safetensors", other_model, preset="c2")
    said = Warnings()
    ours = train(options(**STANDING, init=file), tmp_path / "ours", events=said)
    assert any("this base has other weights" in line for line in said.said)
    pipeline = load_pipeline(resolve(str(tiny_model)))
    merge_atoms(pipeline, read_atoms([(file, 1.0)]), Events())
    pipeline.save_pretrained(tmp_path / "merged")
    theirs = train(options(**STANDING, model=str(tmp_path / "merged")), tmp_path / "theirs")
    assert ours.final_loss == pytest.approx(theirs.final_loss, rel=1e-3)
    few = made_atoms(tmp_path / "few.safetensors", other_model, preset="c1")
    with pytest.raises(AtomtuneError, match=r"cannot begin with .*few\.safetensors: .* another base model"):
        train(options(**STANDING, spec=PRESETS["c1"], init=few), tmp_path / "few")


def test_it_resumes_bit_equal_without_the_file(options: Options, tmp_path: Path, tiny_model: Path) -> None:
    file = made_atoms(tmp_path / "made.safetensors", tiny_model, preset="c2")
    wanted = options(init=file, steps=2)
    whole = train(wanted, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(wanted, tmp_path / "parts", events=StopAfter(1))
    file.unlink()
    assert train(wanted, tmp_path / "parts", resume=True).sha256 == whole.sha256


def test_a_run_without_a_checkpoint_needs_the_same_file(
    options: Options, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = made_atoms(tmp_path / "made.safetensors", tiny_model, preset="c2")
    kept = file.read_bytes()
    wanted = options(init=file, steps=1)
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "run", lambda *_: pytest.fail("the machine went down"))
        with pytest.raises(pytest.fail.Exception):
            train(wanted, tmp_path / "run")
    assert not RunFolder(tmp_path / "run").checkpoint.is_file()
    made_atoms(file, tiny_model, preset="c2", seed=1)
    with pytest.raises(UsageError, match=r"begun with another made\.safetensors"):
        train(wanted, tmp_path / "run", resume=True)
    file.write_bytes(kept)
    assert train(wanted, tmp_path / "run", resume=True).sha256 == train(wanted, tmp_path / "whole").sha256


def test_a_run_may_replace_the_one_it_begins_with(options: Options, tmp_path: Path) -> None:
    first = train(options(steps=1), tmp_path / "run")
    again = train(options(**STANDING, init=first.atoms_file), tmp_path / "run", overwrite=True)
    assert load_atoms(again.atoms_file)[1].training["init"] == first.sha256


def test_a_file_of_other_training_is_refused(
    options: Options, tmp_path: Path, tiny_model: Path, wider_model: Path
) -> None:
    file = made_atoms(tmp_path / "made.safetensors", tiny_model, preset="c2")
    wide = made_atoms(tmp_path / "wide.safetensors", wider_model, preset="c2")
    encoders = train(options(steps=1, train_text_encoder=True), tmp_path / "encoders").atoms_file
    token = train(options(steps=1, train_token=True), tmp_path / "token").atoms_file
    concept = options().concept
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"init": tmp_path / "nowhere.safetensors"}, r"no .*nowhere|nowhere.* not"),
        ({"init": file, "method": "lora", "spec": RankSpec()}, "by the method atoms, the run trains lora"),
        (
            {"init": file, "spec": AtomsSpec(atoms=4, tile=4)},
            r"was trained with .*atoms 9 \(here 4\)",
        ),
        ({"init": wide}, r"has shape|for the architecture"),
        ({"init": encoders}, r"holds text_encoder\..*, which the run does not train"),
        ({"init": token}, r"token_embedding\.change, which the run does not train"),
        ({"init": token, "train_token": True, "concept": replace(concept, token="choa")}, "the embedding of 'sks'"),
    ]
    for changes, message in wrong:
        with pytest.raises(AtomtuneError, match=message) as refused:
            train(options(**changes), tmp_path / "run")
        assert "\n" not in refused.value.message
        assert not (tmp_path / "run").exists()
        assert refused.value.hint
