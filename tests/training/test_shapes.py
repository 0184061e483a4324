"""Training on images of several shapes: batches of one shape each, which all images share alike."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from atomtune.errors import Interrupted
from atomtune.files.checkpoint import load_checkpoint
from atomtune.training.data import Batches, Inputs, Latents
from atomtune.training.options import TrainOptions
from atomtune.training.shaped_batches import ShapedBatches, ShapeOrder
from atomtune.training.step import Stepper
from atomtune.training.train import train
from stopping import StopAfter
from tiny import tiny_xl

Options = Callable[..., TrainOptions]
SIZES = ((40, 40), (60, 30), (60, 30), (30, 60), (30, 62))


@pytest.fixture
def photos(images: Path) -> Path:
    """Five images of three shapes, in the place of `images`."""
    for number, size in enumerate(SIZES):
        Image.linear_gradient("L").rotate(30 * number).resize(size).convert("RGB").save(images / f"{number}.png")
    return images


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Inputs]:
    """The micro-batches of all trainings."""
    found: list[Inputs] = []
    loss_of = Stepper.loss

    def look(self: Stepper, inputs: Inputs) -> Tensor:
        found.append(inputs)
        return loss_of(self, inputs)

    monkeypatch.setattr(Stepper, "loss", look)
    return found


def parameters(run: Path) -> dict[str, Tensor]:
    return load_checkpoint(run / "checkpoint.safetensors").parameters


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def batches(size: int, seed: int = 0) -> ShapedBatches:
    groups = []
    for first, count, (height, width) in ((0, 1, (4, 4)), (1, 4, (2, 6)), (5, 2, (6, 2))):
        mean = torch.arange(first, first + count).float().view(count, 1, 1, 1).expand(count, 4, height, width)
        groups.append(Batches(Latents(mean, torch.zeros_like(mean)), False, 1000, size, 0))
    return ShapedBatches.of(ShapeOrder((1, 4, 2), seed), groups, seed)


def test_all_images_are_seen_equally_often_and_every_step_has_one_shape() -> None:
    for size in (1, 3):
        drawn = [batches(size).draw(step) for step in range(14)]
        counted = Counter(float(value) for batch in drawn for value in batch.latents[:, 0, 0, 0])
        assert counted == {float(number): 2 * size for number in range(7)}
    shapes = [batch.latents.shape[2:] for batch in drawn]
    assert len(set(shapes)) == 3
    assert shapes != [batches(3, seed=1).draw(step).latents.shape[2:] for step in range(14)]


def test_a_step_is_the_same_however_processes_share_it_and_whatever_was_drawn_before() -> None:
    whole = batches(4).draw(9)
    shared = batches(4).draw(9, 0, 2) + batches(4).draw(9, 2, 2)
    for name in ("latents", "noise", "timesteps"):
        assert torch.equal(getattr(whole, name), getattr(shared, name))


def test_steps_of_different_shapes_draw_noise_of_their_own() -> None:
    timesteps = [batches(8).draw(step).timesteps.tolist() for step in range(7)]
    assert len({tuple(some) for some in timesteps}) == 7


def test_images_keep_their_shapes(photos: Path, options: Options, tmp_path: Path, seen: list[Inputs]) -> None:
    train(options(batch_size=1, steps=5, flip=True), tmp_path / "run")
    assert Counter(tuple(inputs.latents.shape[2:]) for inputs in seen) == {(16, 16): 1, (12, 20): 2, (20, 12): 2}


def test_square_images_and_square_runs_train_as_always(
    photos: Path, images: Path, options: Options, tmp_path: Path, seen: list[Inputs]
) -> None:
    train(options(square=True), tmp_path / "square")
    assert {tuple(inputs.latents.shape[2:]) for inputs in seen} == {(16, 16)}
    for path in images.glob("*.png"):
        with Image.open(path) as image:
            image.resize((50, 50)).save(path)
    train(options(square=True), tmp_path / "one")
    train(options(), tmp_path / "other")
    assert same(parameters(tmp_path / "one"), parameters(tmp_path / "other"))


def test_an_interrupted_run_ends_bit_equal_with_class_images_and_preservation(
    photos: Path, options: Options, tmp_path: Path, seen: list[Inputs]
) -> None:
    asked = options(
        flip=True, grad_accum=2, prior_preservation=True, prior_images=6, preserve=1.0, crop="random", noise_offset=0.1
    )
    train(asked, tmp_path / "whole")
    assert all(inputs.latents.shape[0] == 5 for inputs in seen)  # of one shape each, or they could not be joined
    with pytest.raises(Interrupted):
        train(asked, tmp_path / "run", events=StopAfter(3))
    train(asked, tmp_path / "run", resume=True)
    assert same(parameters(tmp_path / "whole"), parameters(tmp_path / "run"))


def test_a_run_from_before_there_were_shapes_goes_on_with_squares(
    photos: Path, options: Options, tmp_path: Path
) -> None:
    train(options(square=True), tmp_path / "whole")
    for again in ({"resume": True}, {}):
        run = tmp_path / f"run{len(again)}"
        with pytest.raises(Interrupted):
            train(options(square=True), run, events=StopAfter(3))
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
        del record["options"]["data"]["square"]
        (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
        train(options(), run, **again)
        assert same(parameters(tmp_path / "whole"), parameters(run))


def test_own_class_images_are_cut_to_the_shapes_of_the_concept(
    photos: Path, options: Options, tmp_path: Path, seen: list[Inputs]
) -> None:
    own = tmp_path / "class"
    own.mkdir()
    Image.linear_gradient("L").resize((60, 30)).convert("RGB").save(own / "wide.png")
    train(options(prior_preservation=True, prior_dir=own, steps=5), tmp_path / "run")
    assert len({inputs.latents.shape[2:] for inputs in seen}) == 3


def test_sdxl_is_told_what_was_cut_out_of_which_size(
    photos: Path, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import UNet2DConditionModel

    told: list[Tensor] = []
    forward = UNet2DConditionModel.forward

    def look(self: Any, noisy: Tensor, timesteps: Tensor, **more: Any) -> Any:
        told.append(more["added_cond_kwargs"]["time_ids"].clone())
        return forward(self, noisy, timesteps, **more)

    monkeypatch.setattr(UNet2DConditionModel, "forward", look)
    asked = options(model=str(tiny_xl(tmp_path / "xl")), batch_size=1, steps=5)
    train(asked, tmp_path / "run")
    wide = [30, 60, 0, 4, 24, 40]
    expected = [wide, wide, [40, 40, 0, 0, 32, 32], [60, 30, 4, 0, 40, 24], [62, 30, 5, 0, 40, 24]]
    assert sorted(row.int().tolist() for batch in told for row in batch) == sorted(expected)
    told.clear()
    train(replace(asked, square=True), tmp_path / "square")
    assert {tuple(row.tolist()) for batch in told for row in batch} == {(32.0, 32.0, 0.0, 0.0, 32.0, 32.0)}
