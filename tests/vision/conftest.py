"""Folders of small images of three kinds, and the weights of a network in a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from atomtune.vision.options import ClassifyOptions

SIDE = 32
KINDS = ("blue", "green", "red")


def image(kind: str, number: int) -> Image.Image:
    """Noise with a square of the kind's colour."""
    pixels = np.random.default_rng([KINDS.index(kind), number]).integers(0, 120, (SIDE, SIDE, 3)).astype(np.uint8)
    place = 2 + 3 * (number % 5)
    pixels[place : place + 14, place : place + 14, 2 - KINDS.index(kind)] = 250
    return Image.fromarray(pixels)


def write_classes(folder: Path, each: int, first: int = 0) -> Path:
    """A folder with a folder for each kind."""
    for kind in KINDS:
        (folder / kind).mkdir(parents=True)
        for number in range(first, first + each):
            image(kind, number).save(folder / kind / f"{number:02}.png")
    return folder


@pytest.fixture(scope="session")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five training images of each kind."""
    return write_classes(tmp_path_factory.mktemp("vision") / "train", 5)


@pytest.fixture(scope="session")
def test_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three other images of each kind."""
    return write_classes(tmp_path_factory.mktemp("vision") / "test", 3, first=5)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of timm's smallest ResNet, with a head of seven classes."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = timm.create_model("test_resnet", pretrained=False, num_classes=7)
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_file(model.state_dict(), path)
    return path


@pytest.fixture
def options(classes: Path, weights: Path) -> Callable[..., ClassifyOptions]:
    """Options of a run of four steps; keyword arguments change them."""

    def make(**changes: Any) -> ClassifyOptions:
        short: dict[str, Any] = {
            "name": "colours",
            "images": classes,
            "model": "timm:test_resnet",
            "weights": str(weights),
            "image_size": SIDE,
            "method": "atoms:conv",
            "epochs": 2,
            "batch_size": 8,
            "checkpoint_every": 2,
            "device": "cpu",
        }
        return ClassifyOptions(**short | changes)

    return make
