"""The recipe runs from nothing to a card, a few steps a stage, and goes on where it stopped; what its steps see."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from atomtune.evaluation.encoders.grader import load_identity
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.pocket.world import THINGS
from pretrain.__main__ import main
from pretrain.dataset import elsewhere, subject
from pretrain.denoiser import draw_times
from pretrain.grader import CLASSES_AT_ONCE, draw_numbers
from pretrain.recipe import Recipe


@pytest.mark.slow
def test_the_recipe_runs_and_resumes(tmp_path: Path) -> None:
    command = ["--trial", "--work", str(tmp_path / "work"), "--weights", str(tmp_path / "weights")]
    assert main(command) == 0
    load_pipeline(resolve(str(tmp_path / "weights" / "pipeline")))
    load_identity(tmp_path / "weights" / "grader")
    figures = json.loads((tmp_path / "weights" / "figures.json").read_text())
    assert 0.0 <= figures["samples"]["class"] <= 1.0
    assert "## Figures" in (tmp_path / "weights" / "README.md").read_text()
    before = (tmp_path / "weights" / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    assert main([*command, "--stage", "export"]) == 0
    after = (tmp_path / "weights" / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    assert before == after


def test_partners_are_the_same_things_elsewhere() -> None:
    for number in range(40):
        one, other = subject(number), elsewhere(number)
        assert (one.thing, one.style.main_name) == (other.thing, other.style.main_name)
        assert one.scene != other.scene
        assert elsewhere(number).view == other.view, "the same number is the same partner"


def test_a_batch_of_the_grader_has_several_things_of_a_class() -> None:
    numbers = draw_numbers(48, 16_000, torch.Generator().manual_seed(1)).tolist()
    assert len(set(numbers)) == 48
    assert max(numbers) < 16_000
    classes = [number % len(THINGS) for number in numbers]
    assert len(set(classes)) == CLASSES_AT_ONCE
    assert all(classes.count(one) == 48 // CLASSES_AT_ONCE for one in classes)


def test_half_of_the_timesteps_are_where_noise_hides_shapes() -> None:
    times = draw_times(20_000, Recipe(), torch.Generator().manual_seed(1)).float()
    assert 0 <= times.min() <= 5
    assert 994 <= times.max() <= 999
    # uniform alone would put a half between 250 and 750
    assert ((times > 250) & (times < 750)).float().mean() > 0.55
    uniform = draw_times(20_000, replace(Recipe(), focused_times=0.0), torch.Generator().manual_seed(1)).float()
    assert uniform.mean() == pytest.approx(499.5, abs=10)
