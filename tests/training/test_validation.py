"""The held-out loss: which images it is of, that they are not trained on, and how it ends a run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from atomtune.data.concept import Concept
from atomtune.data.options import TaughtConcept
from atomtune.errors import Interrupted, UsageError
from atomtune.files.atoms_file import load_atoms
from atomtune.files.checkpoint import load_checkpoint
from atomtune.methods.specs import PRESETS, RankSpec
from atomtune.runtime.progress import Events
from atomtune.training.loaded_base import LoadedBase
from atomtune.training.options import TrainOptions
from atomtune.training.record import TrainResult
from atomtune.training.train import train as _train
from stopping import StopAfter

Options = Callable[..., TrainOptions]
Cli = Callable[..., Any]

BASE = LoadedBase(keep=True)
SHORT: dict[str, Any] = {"spec": PRESETS["c1"], "validate_every": 1}


class Heard(Events):
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.notes: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def advance(self, note: str = "") -> None:
        self.notes.append(note)


def train(wanted: TrainOptions, output: Path, **rest: Any) -> TrainResult:
    """A run; all runs of this file share the base model that they load."""
    return _train(wanted, output, loaded=BASE, **rest)


@pytest.fixture
def sixth(images: Path) -> Path:
    """`images` with a sixth one, of another shape and with a caption of its own."""
    Image.radial_gradient("L").resize((30, 40)).convert("RGB").save(images / "5.png")
    (images / "5.txt").write_text("{} from afar", encoding="utf-8")
    return images


def test_five_images_are_all_trained_on_and_of_six_one_is_kept_out(
    images: Path, options: Options, tmp_path: Path
) -> None:
    assert train(options(**SHORT, steps=1), tmp_path / "five").held_out == []
    Image.radial_gradient("L").resize((40, 30)).convert("RGB").save(images / "5.png")
    result = train(options(**SHORT, steps=1), tmp_path / "six")
    assert len(result.held_out) == 1
    assert list(result.held_out_losses) == [0, 1]
    assert train(options(**SHORT, steps=1, validate=0), tmp_path / "none").held_out == []


def test_a_run_is_the_one_without_the_images_that_it_keeps_out(sixth: Path, options: Options, tmp_path: Path) -> None:
    measured = train(options(**SHORT, steps=3, validate=2, flip=True), tmp_path / "measured")
    assert len(measured.held_out) == 2
    for name in measured.held_out:
        (sixth / name).rename(tmp_path / name)
    without = train(options(**SHORT, steps=3, validate=0, flip=True), tmp_path / "without")
    assert measured.sha256 == without.sha256
    assert load_atoms(measured.atoms_file)[1].prompts == load_atoms(without.atoms_file)[1].prompts


def test_the_loss_is_of_fixed_noises(sixth: Path, options: Options, tmp_path: Path) -> None:
    slow = train(options(**SHORT, steps=2, validate=1, lr=1e-12), tmp_path / "slow")
    first, *later = slow.held_out_losses.values()
    assert later == pytest.approx([first] * 2, rel=1e-5)
    fast = train(options(**SHORT, steps=2, validate=1, lr=1e-2), tmp_path / "fast")
    assert fast.held_out_losses[0] == first
    assert fast.held_out_losses[2] != pytest.approx(first, rel=1e-4)
    log = [json.loads(line) for line in (tmp_path / "fast" / "log.jsonl").read_text().splitlines()]
    assert [entry["held_out_loss"] for entry in log] == [fast.held_out_losses[1], fast.held_out_losses[2]]
    assert "held-out images" in (tmp_path / "fast" / "loss.svg").read_text(encoding="utf-8")


def test_an_interrupted_run_measures_the_same_and_ends_bit_equal(sixth: Path, options: Options, tmp_path: Path) -> None:
    wanted = options(**SHORT, steps=4, stop_early=True, patience=4, train_token=True, ema=True, lr=1e-2)
    whole = train(wanted, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(wanted, tmp_path / "parts", events=StopAfter(3))
    assert train(wanted, tmp_path / "parts", resume=True).sha256 == whole.sha256
    one, two = (load_checkpoint(tmp_path / run / "checkpoint.safetensors") for run in ("whole", "parts"))
    assert (one.held_out, one.losses) == (two.held_out, two.losses)
    assert all(torch.equal(value, two.best[name]) for name, value in one.best.items())


def test_the_result_is_that_of_the_lowest_loss(sixth: Path, options: Options, tmp_path: Path) -> None:
    wild: dict[str, Any] = {"spec": PRESETS["c2"], "validate_every": 1, "lr": 1.0}
    heard = Heard()
    result = train(options(**wild, steps=9, stop_early=True, patience=2), tmp_path / "run", events=heard)
    best = min(result.held_out_losses, key=lambda step: result.held_out_losses[step])
    assert 0 < best < result.steps < 9, "it shows nothing where the first or the last one is the best"
    assert (result.result_step, result.steps, result.stopped_early) == (best, best + 2, True)
    assert load_atoms(result.atoms_file)[1].steps == best
    assert any(", held out " in note for note in heard.notes)
    assert train(options(**wild, steps=best), tmp_path / "until").sha256 == result.sha256


def test_a_loss_that_never_falls_leaves_the_base_model(sixth: Path, options: Options, tmp_path: Path) -> None:
    heard = Heard()
    wanted = options(
        method="lora", spec=RankSpec(rank=4), lr=0.2, steps=9, validate_every=1, stop_early=True, patience=2
    )
    result = train(wanted, tmp_path / "run", events=heard)
    assert (result.steps, result.result_step, result.stopped_early) == (2, 0, True)
    assert not any(bool(value.any()) for name, value in load_atoms(result.atoms_file)[0].items() if "lora_B" in name)
    assert any("never fell below the base model's" in text for text in heard.warnings)
    again = Heard()
    assert train(wanted, tmp_path / "run", resume=True, events=again).sha256 == result.sha256
    assert any("its held-out loss stopped it after step 2" in text for text in again.warnings)


def test_masks_and_several_concepts_count_here_too(sixth: Path, options: Options, tmp_path: Path) -> None:
    for path in sorted(sixth.glob("*.png")):
        with Image.open(path) as image:
            mask = Image.new("L", image.size, 0)
        mask.paste(255, (0, 0, 20, 20))
        mask.save(path.with_suffix(".mask.png"))
    plain = train(options(**SHORT, steps=1), tmp_path / "plain").held_out_losses[0]
    assert train(options(**SHORT, steps=1, masked=True), tmp_path / "masked").held_out_losses[0] != plain
    dogs = tmp_path / "rex"
    dogs.mkdir()
    for path in sorted(sixth.glob("?.png")):
        (dogs / path.name).write_bytes(path.read_bytes())
    rex = TaughtConcept(concept=Concept("rex", "dog"), images=dogs)
    both = train(options(**SHORT, steps=1, others=(rex,)), tmp_path / "both")
    assert [name.startswith("rex/") for name in both.held_out] == [False, True]


def test_what_cannot_be_kept_out_is_refused(images: Path, options: Options, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--validate 5 would leave nothing to learn of the 5 images of castle"):
        train(options(validate=5), tmp_path / "run")
    for number in range(1, 5):
        (images / f"{number}.png").write_bytes((images / "0.png").read_bytes())
    with pytest.raises(UsageError, match="only 0 images of castle is not there twice"):
        train(options(validate=1), tmp_path / "run")
    with pytest.raises(UsageError, match="stop_early needs images"):
        options(validate=0, stop_early=True)
    assert not (tmp_path / "run").exists()


def test_prepare_shows_what_train_will_keep_out(sixth: Path, cli: Cli, tiny_model: Path) -> None:
    flags = ("--concept", "castle", "--images", sixth, "--model", tiny_model)
    prepared = json.loads(cli("prepare", *flags, "--json").out)
    kept_out = [Path(image["path"]).name for image in prepared["images"] if image["held_out"]]
    trained = cli("train", *flags, "--preset", "c1", "--steps", "1", "--device", "cpu", "--json")
    assert json.loads(trained.out)["held_out"] == kept_out != []
    assert "6 images (1 kept out)" in trained.err
    assert "6 images (1 kept out)" in cli("prepare", *flags, "--overwrite").out
