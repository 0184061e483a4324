"""The recipe runs from nothing to a card, a few steps a stage, and goes on where it stopped."""

import json
from pathlib import Path

import pytest

from atomtune.diffusion.models import load_pipeline, resolve
from atomtune.evaluate.grader import load_grader
from atomtune.pocket.pretrain.__main__ import main


@pytest.mark.slow
def test_the_recipe_runs_and_resumes(tmp_path: Path) -> None:
    command = ["--trial", "--work", str(tmp_path / "work"), "--weights", str(tmp_path / "weights")]
    assert main(command) == 0
    load_pipeline(resolve(str(tmp_path / "weights" / "pipeline")))
    load_grader(tmp_path / "weights" / "grader")
    figures = json.loads((tmp_path / "weights" / "figures.json").read_text())
    assert 0.0 <= figures["samples"]["class"] <= 1.0
    assert "## Figures" in (tmp_path / "weights" / "README.md").read_text()
    before = (tmp_path / "weights" / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    assert main([*command, "--stage", "export"]) == 0
    after = (tmp_path / "weights" / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    assert before == after
