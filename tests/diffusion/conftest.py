"""A tiny base model, five pictures, and a short run on them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from diffusers import UNet2DConditionModel
from PIL import Image

from atomtune.diffusion.concept import Concept
from atomtune.diffusion.models import load_pipeline, resolve
from atomtune.diffusion.training.options import TrainOptions
from tiny import tiny_pipeline


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of five plain pictures."""
    folder = tmp_path / "concepts" / "castle"
    folder.mkdir(parents=True)
    for i in range(5):
        Image.linear_gradient("L").rotate(30 * i).resize((40, 30)).convert("RGB").save(folder / f"{i}.png")
    return folder


@pytest.fixture
def options(tiny_model: Path, pictures: Path) -> Callable[..., TrainOptions]:
    """Options of a run of a few steps; keyword arguments change them."""

    def make(**changes: Any) -> TrainOptions:
        short = TrainOptions(
            concept=Concept("castle", "castle"),
            images=pictures,
            model=str(tiny_model),
            steps=6,
            batch_size=2,
            checkpoint_every=2,
            device="cpu",
        )
        return replace(short, **changes)

    return make


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another base model of the same architecture."""
    return tiny_pipeline(tmp_path_factory.mktemp("other"), seed=1)


@pytest.fixture(scope="session")
def wider_model(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A base model of another architecture: wider."""
    folder = tmp_path_factory.mktemp("wider")
    pipeline = load_pipeline(resolve(str(tiny_model)))
    config = {**pipeline.unet.config, "block_out_channels": (16, 32)}
    pipeline.unet = UNet2DConditionModel.from_config(config)
    pipeline.save_pretrained(folder)
    return folder
