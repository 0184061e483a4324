"""Another autoencoder than the base model's own."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import nn

from atomtune.errors import AtomtuneError
from atomtune.files.atomic import write_text
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.sampling.options import SampleOptions, Settings
from atomtune.sampling.sample import sample
from atomtune.training.run_folder import RunFolder
from atomtune.training.train import train


@pytest.fixture
def vae(tiny_model: Path, tmp_path: Path) -> Path:
    """A folder of an autoencoder whose weights are others than the tiny model's."""
    torch.manual_seed(1)
    other: Any = AutoencoderKL.from_config(AutoencoderKL.load_config(tiny_model / "vae"))
    other.save_pretrained(tmp_path / "other-vae")
    return tmp_path / "other-vae"


def weights(part: Any) -> dict[str, torch.Tensor]:
    assert isinstance(part, nn.Module)
    return part.state_dict()


def test_a_folder_of_an_autoencoder_or_of_a_pipeline(vae: Path, tiny_model: Path, tmp_path: Path) -> None:
    source = resolve(str(tiny_model))
    own, other = load_pipeline(source), AutoencoderKL.from_pretrained(vae)
    shutil.copytree(tiny_model, tmp_path / "pipeline")
    shutil.rmtree(tmp_path / "pipeline" / "vae")
    shutil.copytree(vae, tmp_path / "pipeline" / "vae")
    for place in (vae, tmp_path / "pipeline"):
        pipeline = load_pipeline(replace(source, vae=str(place)))
        found = weights(pipeline.vae)
        assert all(torch.equal(found[key], value) for key, value in weights(other).items())
        assert not all(torch.equal(found[key], value) for key, value in weights(own.vae).items())
        assert not any(parameter.requires_grad for parameter in pipeline.vae.parameters())
        assert all(torch.equal(weights(pipeline.unet)[key], value) for key, value in weights(own.unet).items())


def test_images_and_training_see_it(vae: Path, tiny_model: Path, options: Callable[..., Any], tmp_path: Path) -> None:
    asked = SampleOptions(model=str(tiny_model), prompts=("a castle",), settings=Settings(steps=1), device="cpu")
    (plain,), _ = sample(asked, tmp_path / "plain")
    (other,), _ = sample(replace(asked, vae=str(vae)), tmp_path / "other")
    assert plain.load().tobytes() != other.load().tobytes()
    with Image.open(other.path) as image:
        assert json.loads(image.info["atomtune"])["vae"] == "other-vae"
    train(options(steps=1), tmp_path / "run")
    train(options(steps=1, vae=str(vae)), tmp_path / "run-other")
    records = [RunFolder(tmp_path / name).read_record() for name in ("run", "run-other")]
    assert records[0]["components"]["vae"] != records[1]["components"]["vae"]
    assert records[0]["base_fingerprint"] == records[1]["base_fingerprint"]


def test_what_is_no_autoencoder_for_this_model_is_an_error(vae: Path, tiny_model: Path, tmp_path: Path) -> None:
    source = resolve(str(tiny_model))

    def refused(place: str, message: str) -> None:
        with pytest.raises(AtomtuneError, match=message) as caught:
            load_pipeline(replace(source, vae=place))
        assert caught.value.hint

    refused(str(tmp_path / "nowhere"), "there is no autoencoder")
    (tmp_path / "empty").mkdir()
    refused(str(tmp_path / "empty"), "holds no autoencoder: it has no config.json")
    config = json.loads((vae / "config.json").read_text(encoding="utf-8"))
    other: Any = AutoencoderKL.from_config(config | {"latent_channels": 7})
    other.save_pretrained(tmp_path / "channels")
    refused(str(tmp_path / "channels"), "has 7 latent channels, the model's own 4")
    sides = {
        "block_out_channels": [8],
        "down_block_types": ["DownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D"],
    }
    AutoencoderKL.from_config(config | sides | {"norm_num_groups": 4}).save_pretrained(tmp_path / "levels")
    refused(str(tmp_path / "levels"), "has 1 levels, the model's own")
    for file in vae.glob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))
    refused(str(vae), "pickles only")
    write_text(vae / "config.json", "{")
    (tmp_path / "other-vae" / "diffusion_pytorch_model.bin").rename(vae / "diffusion_pytorch_model.safetensors")
    refused(str(vae), "config.json")
