"""Every test runs offline, on its own cache folder and on one thread."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub, which reads it once

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image

from atomtune.commands.app import main
from atomtune.data.concept import Concept
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.runtime.launcher import VARIABLES
from atomtune.training.options import TrainOptions
from tiny import tiny_pipeline


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ATOMTUNE_CACHE", str(tmp_path / "cache"))
    for name in ("ATOMTUNE_MODEL", "TERMINAL_WIDTH", *VARIABLES):
        monkeypatch.delenv(name, raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random pipeline; see tiny.py."""
    return tiny_pipeline(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def unreachable_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A hub that is asked, and not there, with nothing in its cache: the repositories it was asked for."""
    from huggingface_hub import constants

    asked: list[str] = []

    def refuse(_: object, repository: str, **__: object) -> None:
        asked.append(repository)
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits for another attempt"))
    return asked


@dataclass(frozen=True)
class Answer:
    """What a command line left: exit code and the two streams."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run the command line in this process, in an empty folder: cli("train", "--concept", "castle")."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(*arguments: object) -> Answer:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Answer(code, out, err)

    return run


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of five plain images."""
    folder = tmp_path / "concepts" / "castle"
    folder.mkdir(parents=True)
    for i in range(5):
        Image.linear_gradient("L").rotate(30 * i).resize((40, 30)).convert("RGB").save(folder / f"{i}.png")
    return folder


@pytest.fixture
def options(tiny_model: Path, images: Path) -> Callable[..., TrainOptions]:
    """Options of a run of a few steps; keyword arguments change them."""

    def make(**changes: Any) -> TrainOptions:
        short = TrainOptions(
            concept=Concept("castle", "castle", "sks"),
            images=images,
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
