"""Training runs on a tiny model: results, resuming, stopping, refusing."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from atomtune.data.concept import Concept
from atomtune.errors import AtomtuneError, Interrupted, UsageError
from atomtune.files.atoms_file import load_atoms
from atomtune.files.checkpoint import load_checkpoint
from atomtune.methods.specs import PRESETS, AtomsSpec
from atomtune.training.loop import Loop
from atomtune.training.options import TrainOptions
from atomtune.training.train import train
from stopping import StopAfter

Options = Callable[..., TrainOptions]


def test_a_run_leaves_what_it_promises(options: Options, tmp_path: Path) -> None:
    result = train(options(sample_every=3, sample_prompts=("a {} in the snow",), sample_steps=2), tmp_path / "run")
    tensors, info, sha256 = load_atoms(result.atoms_file)
    assert (info.steps, info.preset, info.prompts) == (6, "c2", ["a photo of a sks castle"])
    assert info.parameters == result.trainable_parameters == sum(t.numel() for k, t in tensors.items() if "delta" in k)
    assert sha256 == result.sha256
    assert all(bool(tensor.any()) for name, tensor in tensors.items() if "delta" in name), "a delta never moved"
    entries = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [1, 2, 3, 4, 5, 6]
    assert result.final_loss == pytest.approx(sum(entry["loss"] for entry in entries) / 6)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["options"]["data"]["resolution"] == 32
    assert record["result"]["steps"] == 6
    assert (tmp_path / "run" / "loss.svg").read_text().startswith("<svg")
    assert sorted(p.name for p in (tmp_path / "run" / "previews").iterdir()) == [
        "step-000003-0.png",
        "step-000006-0.png",
    ]
    assert (tmp_path / "run" / "previews.png").is_file()


def test_drawing_previews_does_not_change_the_result(options: Options, tmp_path: Path) -> None:
    plain = train(options(), tmp_path / "plain")
    watched = train(options(sample_every=2, sample_prompts=("a {}",), sample_steps=2), tmp_path / "watched")
    assert plain.sha256 == watched.sha256


def test_the_seed_decides(options: Options, tmp_path: Path) -> None:
    first = train(options(), tmp_path / "first")
    assert train(options(), tmp_path / "again").sha256 == first.sha256
    assert train(options(seed=1), tmp_path / "other").sha256 != first.sha256


@pytest.mark.parametrize("spec", [PRESETS["c2"], PRESETS["c4"]], ids=["c2", "c4"])
@pytest.mark.parametrize("stop_after", [1, 3])
def test_an_interrupted_and_resumed_run_ends_bit_equal(
    options: Options, tmp_path: Path, spec: AtomsSpec, stop_after: int
) -> None:
    whole = train(options(spec=spec), tmp_path / "whole")
    with pytest.raises(Interrupted) as stopped:
        train(options(spec=spec), tmp_path / "parts", events=StopAfter(stop_after))
    assert stopped.value.exit_code == 130
    assert "--resume" in (stopped.value.hint or "")
    assert load_checkpoint(tmp_path / "parts" / "checkpoint.safetensors").step == stop_after
    resumed = train(options(spec=spec), tmp_path / "parts", resume=True)
    assert resumed.resumed_from == stop_after
    assert resumed.sha256 == whole.sha256
    one, other = (load_checkpoint(tmp_path / run / "checkpoint.safetensors") for run in ("whole", "parts"))
    assert all(torch.equal(value, other.parameters[name]) for name, value in one.parameters.items())
    assert one.losses == other.losses


def test_a_crash_between_checkpoints_loses_only_the_steps_since(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(options(), tmp_path / "whole")
    take_step = Loop._take_step

    def crash(self: Loop, step: int) -> float:
        if step == 5:
            raise RuntimeError("the machine went away")
        return take_step(self, step)

    monkeypatch.setattr(Loop, "_take_step", crash)
    with pytest.raises(RuntimeError):
        train(options(), tmp_path / "run")
    monkeypatch.setattr(Loop, "_take_step", take_step)
    resumed = train(options(), tmp_path / "run", resume=True)
    assert (resumed.resumed_from, resumed.sha256) == (4, whole.sha256)
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_a_lost_terminal_stop_with_143(options: Options, tmp_path: Path, number: signal.Signals) -> None:
    with pytest.raises(Interrupted) as stopped:
        train(options(), tmp_path / "run", events=StopAfter(2, number))
    assert stopped.value.exit_code == 143
    assert load_checkpoint(tmp_path / "run" / "checkpoint.safetensors").step == 2


def test_a_lost_terminal_stops_nothing_under_nohup(options: Options, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert train(options(), tmp_path / "run", events=StopAfter(2, signal.SIGHUP)).steps == 6
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_finished_run_can_be_given_more_steps(options: Options, tmp_path: Path) -> None:
    whole = train(options(steps=8), tmp_path / "whole")
    train(options(steps=6), tmp_path / "run")
    longer = train(options(steps=8), tmp_path / "run", resume=True, explicit=frozenset({"steps"}))
    assert (longer.resumed_from, longer.sha256) == (6, whole.sha256)


def test_other_options_are_refused_and_listed(options: Options, tmp_path: Path) -> None:
    train(options(), tmp_path / "run")
    with pytest.raises(UsageError) as refused:
        train(options(lr=0.5, seed=3), tmp_path / "run", resume=True, explicit=frozenset({"lr", "seed"}))
    assert "lr was 0.001, now 0.5" in refused.value.message
    assert "seed was 0, now 3" in refused.value.message


def test_an_occupied_folder_is_refused(options: Options, tmp_path: Path) -> None:
    first = train(options(), tmp_path / "run")
    before = first.atoms_file.read_bytes()
    with pytest.raises(UsageError, match="already holds a run"):
        train(options(seed=5), tmp_path / "run")
    assert first.atoms_file.read_bytes() == before
    assert train(options(seed=5), tmp_path / "run", overwrite=True).sha256 != first.sha256


def test_a_loss_that_is_not_finite_stops_before_the_step(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atomtune.training.loss import Objective

    loss = Objective.loss
    calls = []

    def poisoned(self: Objective, *tensors: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return loss(self, *tensors) * (float("nan") if len(calls) == 4 else 1.0)

    monkeypatch.setattr(Objective, "loss", poisoned)
    with pytest.raises(AtomtuneError, match="the loss became nan at step 4"):
        train(options(), tmp_path / "run")
    kept = load_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    assert kept.step == 2
    assert not (tmp_path / "run" / "castle.safetensors").exists()
    monkeypatch.setattr(Objective, "loss", loss)
    assert train(options(), tmp_path / "run", resume=True).sha256 == train(options(), tmp_path / "whole").sha256


def test_only_the_deltas_train(options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Loop] = []
    run = Loop.run

    def keep(self: Loop, *arguments: object) -> None:
        self.before = {k: v.clone() for k, v in self.tuned.unet.state_dict().items() if ".deltas." not in k}
        run(self, *arguments)
        seen.append(self)

    monkeypatch.setattr(Loop, "run", keep)
    train(options(), tmp_path / "run")
    after = seen[0].tuned.unet.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in seen[0].before.items())


def test_a_model_that_fails_to_load_costs_no_earlier_run(options: Options, tmp_path: Path) -> None:
    first = train(options(), tmp_path / "run")
    before = first.atoms_file.read_bytes()
    with pytest.raises(AtomtuneError, match="there is no model folder"):
        train(options(model="./nowhere"), tmp_path / "run", overwrite=True)
    assert first.atoms_file.read_bytes() == before


def test_another_concepts_run_is_not_resumed(options: Options, tmp_path: Path) -> None:
    train(options(), tmp_path / "run")
    with pytest.raises(UsageError, match="'castle', not 'dog'"):
        train(options(concept=Concept("dog", "dog")), tmp_path / "run", resume=True)


def test_a_device_that_accelerate_would_pass_over_is_refused(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atomtune.training.setup.pick_device", lambda _: torch.device("cuda:1"))
    with pytest.raises(UsageError, match="cuda:1") as refused:
        train(options(), tmp_path / "run")
    assert "CUDA_VISIBLE_DEVICES=1" in (refused.value.hint or "")


def test_nothing_to_resume(options: Options, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run to resume"):
        train(options(), tmp_path / "run", resume=True)
