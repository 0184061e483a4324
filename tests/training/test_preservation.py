"""Preservation: extra rows under other prompts, on which the model keeps what it predicted before training."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from atomtune.data.concept import Concept
from atomtune.errors import AtomtuneError, Interrupted, UsageError
from atomtune.files.checkpoint import Checkpoint, load_checkpoint
from atomtune.methods import METHODS
from atomtune.methods.specs import PRESETS, Spec
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.models.conditioning import embed, encode
from atomtune.runtime.progress import Events
from atomtune.sampling.apply import applied
from atomtune.sampling.changes import read_atoms
from atomtune.training.cuda_graph import CudaGraphStepper
from atomtune.training.data import Inputs
from atomtune.training.loop import Loop
from atomtune.training.options import TrainOptions
from atomtune.training.step import Stepper
from atomtune.training.train import train
from stopping import StopAfter
from tiny import tiny_xl

Options = Callable[..., TrainOptions]
C1 = PRESETS["c1"]
OTHERS = ["", "a zebra", "a piano in the fog"]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "others.txt"
    path.write_text('""\na zebra\na piano in the fog\n', encoding="utf-8")
    return path


def state(run: Path) -> Checkpoint:
    return load_checkpoint(run / "checkpoint.safetensors")


def change_of_prediction(model: Path, atoms_file: Path) -> float:
    """How far a file moves the model's predictions for `OTHERS`."""
    pipeline = load_pipeline(resolve(str(model)))
    noisy = torch.randn(len(OTHERS), 4, 16, 16, generator=torch.Generator().manual_seed(0))

    def predicted() -> Tensor:
        with torch.no_grad():
            condition = embed(pipeline, OTHERS).for_unet(32)
            found: Tensor = pipeline.unet(noisy, 400, **condition, return_dict=False)[0]
        return found

    before = predicted()
    with applied(pipeline, read_atoms([(atoms_file, 1.0)]), Events()):
        return float((predicted() - before).norm())


@pytest.mark.parametrize(
    "how",
    [
        {"spec": C1},
        {"method": "difffit", "spec": METHODS["difffit"].spec(), "train_text_encoder": True, "train_token": True},
    ],
    ids=lambda how: str(how.get("method", "atoms")),
)
def test_predictions_for_other_prompts_move_less(
    how: dict[str, Any], options: Options, tmp_path: Path, tiny_model: Path, prompts: Path
) -> None:
    how = {**how, "lr": 1e-2, "steps": 6}
    plain = train(options(**how), tmp_path / "plain")
    kept = train(options(**how, preserve=20.0, preserve_rows=3, preserve_prompts=prompts), tmp_path / "kept")
    assert kept.trainable_parameters == plain.trainable_parameters
    moved, less = (change_of_prediction(tiny_model, result.atoms_file) for result in (plain, kept))
    assert 0.0 < less < 0.8 * moved


@pytest.mark.parametrize(
    ("learns", "prior"), [(False, True), (True, False)], ids=["prior preservation", "text encoder trained"]
)
def test_the_loss_is_that_of_the_examples_and_the_distance_to_the_base_model(
    learns: bool,
    prior: bool,
    options: Options,
    tmp_path: Path,
    tiny_model: Path,
    prompts: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = load_pipeline(resolve(str(tiny_model)))
    loss_of, checked = Stepper.loss, []

    def check(self: Stepper, inputs: Inputs) -> Tensor:
        found = loss_of(self, inputs)
        assert self.preservation is not None
        assert inputs.preserved == 2
        assert len(inputs.latents) == len(inputs.condition) == (6 if prior else 4)
        noisy = self.objective.noisy(inputs.latents, inputs.noise, inputs.timesteps)
        with torch.no_grad():
            condition: Any = inputs.condition[-2:]
            if learns:
                condition = encode([base.text_encoder], condition)
            first = base.unet(noisy[-2:], inputs.timesteps[-2:], **condition.for_unet(32), return_dict=False)[0]
            now = self.model(noisy, inputs.timesteps, inputs.condition)
        parts = (now, inputs.latents, inputs.noise, inputs.timesteps)
        expected = self.objective.loss(*(part[:2] for part in parts))
        if prior:
            expected = expected + 0.5 * self.objective.loss(*(part[2:4] for part in parts))
        moved = self.objective.distance(now[-2:], first, inputs.timesteps[-2:])
        torch.testing.assert_close(found.detach(), expected + 3.0 * moved, rtol=1e-4, atol=1e-7)
        checked.append(float(moved))
        return found

    monkeypatch.setattr(Stepper, "loss", check)
    how: dict[str, Any] = {"prior_preservation": True, "prior_images": 2, "prior_weight": 0.5} if prior else {}
    wanted = options(spec=C1, steps=3, lr=1e-2, min_snr_gamma=5.0, train_text_encoder=learns, train_token=learns, **how)
    train(replace(wanted, preserve=3.0, preserve_rows=2, preserve_prompts=prompts), tmp_path / "run")
    assert checked[0] < 1e-9 < 1e-7 < checked[-1]


EVERYTHING: dict[str, Any] = {
    "spec": C1,
    "batch_size": 3,
    "grad_accum": 2,
    "flip": True,
    "ema": True,
    "min_snr_gamma": 5.0,
    "prior_preservation": True,
    "prior_images": 2,
    "preserve": 0.5,
    "preserve_every": 2,
    "preserve_class_noun": True,
    "train_text_encoder": True,
    "steps": 4,
    "checkpoint_every": 3,
}


def test_an_interrupted_run_ends_bit_equal_with_inputs_in_place_too(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(options(**EVERYTHING), tmp_path / "whole")
    rows: list[int] = []
    backward = CudaGraphStepper.backward

    def noted(self: CudaGraphStepper, inputs: Inputs, is_last: bool) -> Tensor:
        rows.append(inputs.preserved)
        return backward(self, inputs, is_last)

    monkeypatch.setattr(CudaGraphStepper, "backward", noted)
    monkeypatch.setattr(
        "atomtune.training.setup.choose_stepping",
        lambda loop, *_: loop.use_cuda_graph(record=False, record_update=True, warn=pytest.fail),
    )
    with pytest.raises(Interrupted, match="stopped after step 3"):
        train(options(**EVERYTHING), tmp_path / "parts", events=StopAfter(3))
    rest = train(options(**EVERYTHING), tmp_path / "parts", resume=True)
    assert rest.sha256 == whole.sha256
    one, other = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert one.losses == other.losses
    assert all(torch.equal(value, other.average[name]) for name, value in one.average.items())
    assert rows == [1, 1, 0, 0, 1, 1, 0, 0], "every second step has a row in each of its two batches"


def test_accumulated_batches_have_the_rows_of_a_large_one(options: Options, tmp_path: Path, prompts: Path) -> None:
    seen: dict[str, list[Inputs]] = {}
    inputs_of = Loop._inputs

    def noted(name: str, how: dict[str, Any]) -> None:
        held = seen[name] = []

        def note(self: Loop, step: int, part: int) -> Inputs:
            held.append(inputs_of(self, step, part))
            return held[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Loop, "_inputs", note)
            train(options(spec=C1, steps=2, preserve=1.0, preserve_prompts=prompts, **how), tmp_path / name)

    noted("parts", {"batch_size": 1, "grad_accum": 4, "preserve_rows": 1})
    noted("whole", {"batch_size": 4, "preserve_rows": 4})

    def extra(inputs: list[Inputs]) -> list[Tensor]:
        last = [[tensor[-one.preserved :] for tensor in one.tensors()] for one in inputs]
        return [torch.cat(parts) for parts in zip(*last, strict=True)]

    assert all(torch.equal(*pair) for pair in zip(extra(seen["parts"]), extra(seen["whole"]), strict=True))
    one, other = state(tmp_path / "parts"), state(tmp_path / "whole")
    assert one.losses == pytest.approx(other.losses, rel=1e-4)


def test_what_a_step_sees_of_the_concept_stays_the_same(options: Options, tmp_path: Path) -> None:
    plain = train(options(spec=C1, steps=1), tmp_path / "plain")
    # at the first step the adapted model is the base model, so that nothing is pulled yet
    kept = train(options(spec=C1, steps=1, preserve=1.0), tmp_path / "kept")
    assert kept.final_loss == pytest.approx(plain.final_loss, rel=1e-5)
    assert "preservation_prompts" not in json.loads((tmp_path / "plain" / "run.json").read_text(encoding="utf-8"))


def test_two_text_encoders(options: Options, tmp_path: Path) -> None:
    model = tiny_xl(tmp_path / "xl")
    for learns in (False, True):
        wanted = options(spec=C1, steps=1, model=str(model), preserve=1.0, train_text_encoder=learns)
        assert train(wanted, tmp_path / f"run-{learns}").steps == 1


def test_prompts_of_the_file_may_not_change(options: Options, tmp_path: Path, prompts: Path) -> None:
    wanted = options(spec=C1, preserve=1.0, preserve_prompts=prompts)
    with pytest.raises(Interrupted, match="stopped after step 2"):
        train(wanted, tmp_path / "run", events=StopAfter(2))
    written = prompts.read_text(encoding="utf-8")
    prompts.write_text(written + "a fox\n", encoding="utf-8")
    with pytest.raises(UsageError, match="other prompts than it was begun with"):
        train(wanted, tmp_path / "run", resume=True)
    prompts.unlink()  # what the record has is enough
    assert train(wanted, tmp_path / "run", resume=True).steps == 6
    record = tmp_path / "run" / "run.json"
    damaged = {**json.loads(record.read_text(encoding="utf-8")), "preservation_prompts": [1]}
    record.write_text(json.dumps(damaged), encoding="utf-8")
    with pytest.raises(AtomtuneError, match="does not say which prompts"):
        train(replace(wanted, steps=8), tmp_path / "run", resume=True, explicit=frozenset({"steps"}))


def test_a_run_goes_on_with_its_own_preservation(options: Options, tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="stopped after step 1"):
        train(options(spec=C1, preserve=1.0), tmp_path / "run", events=StopAfter(1))
    asked: dict[str, Any] = {"preserve": 2.0, "preserve_every": 2, "preserve_rows": 3, "preserve_class_noun": True}
    with pytest.raises(UsageError) as refused:
        train(options(spec=C1, **asked), tmp_path / "run")
    assert refused.value.message.splitlines()[1:] == [
        "preserve was 1.0, now 2.0",
        "preserve_class_noun was False, now True",
        "preserve_every was 1, now 2",
        "preserve_rows was None, now 3",
    ]


def test_options_without_a_weight_or_a_purpose_are_refused(options: Options, prompts: Path) -> None:
    for changes in ({"preserve_rows": 1}, {"preserve_prompts": prompts}, {"preserve_class_noun": True}):
        with pytest.raises(UsageError, match="needs preserve, as in --preserve 1"):
            options(**changes)
    with pytest.raises(UsageError, match="preserve_every needs preserve"):
        options(preserve_every=2)
    with pytest.raises(UsageError, match="a file names what it preserves"):
        options(preserve=1.0, preserve_prompts=prompts, preserve_class_noun=True)
    with pytest.raises(UsageError, match="changes no prompt without the token"):
        options(method="textual-inversion", spec=Spec(), preserve=1.0)
    assert options(concept=Concept("a", "b"), preserve=1.0).preserve_rows is None
