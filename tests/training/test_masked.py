"""Training with masks: what they leave out does not count, and everything else goes on as without them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from atomtune.errors import Interrupted, UsageError
from atomtune.files.checkpoint import load_checkpoint
from atomtune.training.data import Batches, Inputs, Latents
from atomtune.training.options import TrainOptions
from atomtune.training.step import Stepper
from atomtune.training.train import train
from stopping import StopAfter

Options = Callable[..., TrainOptions]


@pytest.fixture
def masks(images: Path) -> Path:
    """A mask beside every image of `images`: the left half."""
    for path in sorted(images.glob("*.png")):
        mask = Image.new("L", (40, 30), 0)
        mask.paste(255, (0, 0, 20, 30))
        mask.save(path.with_suffix(".mask.png"))
    return images


def parameters(run: Path) -> dict[str, Tensor]:
    return load_checkpoint(run / "checkpoint.safetensors").parameters


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_floor_of_one_is_no_mask_and_a_lower_one_is(masks: Path, options: Options, tmp_path: Path) -> None:
    train(options(), tmp_path / "plain")
    train(options(masked=True, mask_floor=1.0), tmp_path / "whole")
    train(options(masked=True), tmp_path / "masked")
    plain, whole, masked = (parameters(tmp_path / run) for run in ("plain", "whole", "masked"))
    for name, value in plain.items():
        torch.testing.assert_close(whole[name], value, rtol=1e-3, atol=1e-4)
    assert not same(masked, plain)


def test_weights_follow_image_and_mirror() -> None:
    mean = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 4, 2, 2)
    weights = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 2, 2)
    batches = Batches(Latents(mean, torch.zeros_like(mean), weights), True, 1000, 6, seed=0)
    for step in range(5):
        batch = batches.draw(step)
        assert batch.weights is not None
        assert torch.equal(batch.weights[:, 0, 0, 0], batch.latents[:, 0, 0, 0])
    plain = replace(batches, latents=Latents(mean, torch.zeros_like(mean)))
    joined = plain.draw(0) + batch
    assert joined.weights is not None
    assert torch.equal(joined.weights[:6], torch.ones(6, 1, 2, 2))
    assert torch.equal(joined.weights[6:], batch.weights)


def test_the_loss_counts_the_concept_by_its_mask_and_class_images_whole(
    masks: Path, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss_of, checked = Stepper.loss, []

    def check(self: Stepper, inputs: Inputs) -> Tensor:
        found = loss_of(self, inputs)
        assert inputs.weights is not None
        assert torch.equal(inputs.weights[2:], torch.ones_like(inputs.weights[2:]))
        assert 0.0 < float(inputs.weights[:2].min()) < float(inputs.weights[:2].max()) == 1.0
        noisy = self.objective.noisy(inputs.latents, inputs.noise, inputs.timesteps)
        with torch.no_grad():
            now = self.model(noisy, inputs.timesteps, inputs.condition)
        error = (now - inputs.noise).square()
        concept = (error[:2] * inputs.weights[:2]).sum((1, 2, 3)) / (4 * inputs.weights[:2].sum((1, 2, 3)))
        kept = torch.zeros(())
        if inputs.preserved:
            kept = found.detach() - concept.mean() - 0.5 * error[2:4].mean()
            assert float(kept) >= -1e-6
        torch.testing.assert_close(found.detach(), concept.mean() + 0.5 * error[2:4].mean() + kept)
        checked.append(inputs.preserved)
        return found

    monkeypatch.setattr(Stepper, "loss", check)
    with_prior: dict[str, Any] = {"prior_preservation": True, "prior_images": 2, "prior_weight": 0.5, "steps": 2}
    train(options(masked=True, **with_prior), tmp_path / "prior")
    train(options(masked=True, preserve=1.0, preserve_rows=1, **with_prior), tmp_path / "both")
    assert checked == [0, 0, 1, 1]


def test_an_interrupted_masked_run_ends_bit_equal_and_refuses_other_masks(
    masks: Path, options: Options, tmp_path: Path
) -> None:
    asked = options(masked=True, flip=True, grad_accum=2, steps=4)
    train(asked, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(asked, tmp_path / "run", events=StopAfter(2))
    mask = masks / "3.mask.png"
    kept = mask.read_bytes()
    Image.new("L", (40, 30), 255).save(mask)
    with pytest.raises(UsageError, match=r"the mask of 3\.png was changed"):
        train(asked, tmp_path / "run", resume=True)
    mask.write_bytes(kept)
    train(asked, tmp_path / "run", resume=True)
    assert same(parameters(tmp_path / "whole"), parameters(tmp_path / "run"))
