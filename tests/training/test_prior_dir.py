"""Class images of the user's own beside the concept's."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from atomtune.data.concept import Concept
from atomtune.errors import AtomtuneError, Interrupted, UsageError
from atomtune.training.data import Inputs
from atomtune.training.options import TrainOptions
from atomtune.training.step import Stepper
from atomtune.training.train import train
from stopping import StopAfter

Options = Callable[..., TrainOptions]


@pytest.fixture
def houses(tmp_path: Path) -> Path:
    """Twelve bright images of another kind than the concept's."""
    folder = tmp_path / "houses"
    folder.mkdir()
    for number in range(12):
        Image.new("RGB", (48, 32), (255, 255 - number, 255)).save(folder / f"{number:02d}.png")
    return folder


def test_they_are_the_second_half_of_every_batch_and_nothing_is_generated(
    options: Options, houses: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    loss_of = Stepper.loss

    def watch(self: Stepper, inputs: Inputs) -> Tensor:
        seen.append(inputs.latents[2:].mean(dim=(2, 3)))
        return loss_of(self, inputs)

    monkeypatch.setattr(Stepper, "loss", watch)
    monkeypatch.setattr("atomtune.training.prior_preservation.generate", lambda *_: pytest.fail("it generates"))
    train(options(prior_preservation=True, prior_dir=houses, steps=6), tmp_path / "run")
    # all of one colour, and each once in six steps of two
    assert torch.cat(seen).std(dim=0).max() < torch.cat(seen).abs().max()
    assert len({tuple(row.tolist()) for row in torch.cat(seen)}) == 12
    assert "images of --prior-dir" in json.loads((tmp_path / "run" / "run.json").read_text())["cached"]


def test_other_images_there_end_a_resumed_run_and_another_place_does_not(
    options: Options, houses: Path, tmp_path: Path
) -> None:
    asked = options(prior_preservation=True, prior_dir=houses)
    with pytest.raises(Interrupted):
        train(asked, tmp_path / "run", events=StopAfter(2))
    moved = houses.rename(tmp_path / "moved")
    gone = moved / "03.png"
    kept = gone.read_bytes()
    gone.unlink()
    again = options(prior_preservation=True, prior_dir=moved)
    with pytest.raises(AtomtuneError, match=r"begun with other images of --prior-dir \(") as problem:
        train(again, tmp_path / "run", resume=True)
    assert "put them back" in str(problem.value.hint)
    gone.write_bytes(kept)
    assert train(again, tmp_path / "run", resume=True).steps == 6


def test_it_needs_prior_preservation() -> None:
    with pytest.raises(UsageError, match="prior_dir needs prior_preservation"):
        TrainOptions(concept=Concept("castle"), prior_dir=Path("houses"))
