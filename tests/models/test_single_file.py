"""Architectures known without network, checkpoints in one file, and weights that are pickles."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from atomtune.errors import AtomtuneError
from atomtune.models.architecture import architecture_of, native_resolution, text_encoders_on_meta, unet_on_meta
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.models.single_file import SD_V1, SD_V2, SDXL, Family, SingleFile, inspect_file, load_single_file
from atomtune.models.tokenizer import END
from single_file import UNET, write_single_file

FIRST = UNET + "input_blocks.0.0.weight"
CROSS = UNET + "input_blocks.{}.1.transformer_blocks.0.attn2.to_k.weight"
VAE, TEXT = "first_stage_model.decoder.conv_in.bias", "cond_stage_model.transformer.some.bias"


@pytest.mark.parametrize(
    ("name", "parameters", "side", "architecture", "encoders"),
    [
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", 859_520_964, 512, "stable-diffusion-v1", [123_060_480]),
        ("stabilityai/stable-diffusion-2-1", 865_910_724, 768, "stable-diffusion-v2", [340_387_840]),
        (
            "stabilityai/stable-diffusion-xl-base-1.0",
            2_567_463_684,
            1024,
            "stable-diffusion-xl-v1-base",
            [123_060_480, 694_659_840],
        ),
    ],
)
def test_shapes_come_with_the_package(
    name: str, parameters: int, side: int, architecture: str, encoders: list[int]
) -> None:
    source = resolve(name)
    unet = unet_on_meta(source)
    assert sum(parameter.numel() for parameter in unet.parameters()) == parameters
    assert native_resolution(source) == side
    assert architecture_of(unet) == architecture
    parts = text_encoders_on_meta(source).values()
    assert [sum(parameter.numel() for parameter in part.parameters()) for part in parts] == encoders


def test_sdxl_is_planned_without_network(cli: Callable[..., Any]) -> None:
    model = "stabilityai/stable-diffusion-xl-base-1.0"
    plain = cli("train", "--concept", "castle", "--model", model, "--dry-run", "--json")
    with_text = cli("train", "--concept", "castle", "--model", model, "--train-text-encoder", "--dry-run", "--json")
    assert plain.code == with_text.code == 0
    groups = [group["group"] for group in json.loads(with_text.out)["groups"]]
    assert groups[-2:] == ["text_encoder", "text_encoder_2"]
    more = sum(group["parameters"] for group in json.loads(with_text.out)["groups"][-2:])
    difference = json.loads(with_text.out)["trainable_parameters"] - json.loads(plain.out)["trainable_parameters"]
    # 11 and 32 blocks of 6 layers and a projection, with complete dictionaries of 8×8 tiles
    assert difference == more == (11 * 6 + 32 * 6 + 1) * 64 * 64


@pytest.fixture
def single(tiny_model: Path, tmp_path: Path) -> Path:
    return write_single_file(load_pipeline(resolve(str(tiny_model))), tmp_path / "tiny.safetensors")


def test_one_file_holds_the_same_model(single: Path, tiny_model: Path, tmp_path: Path) -> None:
    """The configuration is the tiny model's here, as the files of the field are all of the three full sizes."""
    bare = tmp_path / "bare"
    shutil.copytree(tiny_model, bare, ignore=shutil.ignore_patterns("*.safetensors", "tokenizer"))
    found = SingleFile(Family(str(bare), {"tokenizer": END}), "v_prediction", zero_terminal_snr=True)
    loaded, original = load_single_file(single, found), load_pipeline(resolve(str(tiny_model)))
    for name in ("unet", "vae", "text_encoder"):
        ours, theirs = getattr(loaded, name).state_dict(), getattr(original, name).state_dict()
        assert set(ours) == set(theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
    assert loaded.tokenizer("a castle").input_ids == original.tokenizer("a castle").input_ids
    assert loaded.scheduler.config.prediction_type == "v_prediction"
    assert loaded.scheduler.config.rescale_betas_zero_snr


def test_a_file_of_another_size_is_refused_by_name(single: Path) -> None:
    with pytest.raises(AtomtuneError, match="architecture that is not known"):
        load_pipeline(resolve(str(single)))


def checkpoint(path: Path, keys: dict[str, tuple[int, ...]], metadata: dict[str, str] | None = None) -> Path:
    save_file({key: torch.zeros(shape) for key, shape in keys.items()}, path, metadata)
    return path


WHOLE = {FIRST: (8, 4, 3, 3), VAE: (1,), TEXT: (1,)}


@pytest.mark.parametrize(
    ("keys", "metadata", "expected"),
    [
        ({CROSS.format(1): (8, 768)}, None, SingleFile(SD_V1, "epsilon", False)),
        ({CROSS.format(1): (8, 768)}, {"modelspec.prediction_type": "v"}, SingleFile(SD_V1, "v_prediction", False)),
        ({CROSS.format(1): (8, 1024)}, {"modelspec.prediction_type": "v"}, SingleFile(SD_V2, "v_prediction", False)),
        (
            {CROSS.format(1): (8, 1024)},
            {"modelspec.prediction_type": "epsilon"},
            SingleFile(SD_V2, "epsilon", False),
        ),
        ({CROSS.format(4): (8, 2048)}, None, SingleFile(SDXL, "epsilon", False)),
        ({CROSS.format(4): (8, 2048), "v_pred": (1,), "ztsnr": (1,)}, None, SingleFile(SDXL, "v_prediction", True)),
    ],
)
def test_a_file_says_what_it_is(
    keys: dict[str, tuple[int, ...]], metadata: dict[str, str] | None, expected: SingleFile, tmp_path: Path
) -> None:
    path = checkpoint(tmp_path / "model.safetensors", WHOLE | keys, metadata)
    assert inspect_file(path) == expected
    assert native_resolution(resolve(str(path))) == {"sd-v1-4": 512, "sd-v2-1": 768}.get(expected.family.name, 1024)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"lora_unet_mid_block.lora_up.weight": (4, 4)}, "no checkpoint of Stable Diffusion"),
        (WHOLE | {FIRST: (8, 9, 3, 3)}, "another task"),
        (WHOLE | {CROSS.format(4): (8, 1280)}, "not known"),
        ({FIRST: (8, 4, 3, 3), CROSS.format(1): (8, 768)}, "no VAE and no text encoder"),
        (WHOLE | {CROSS.format(1): (8, 1024)}, "does not say whether"),
    ],
)
def test_other_files_are_refused(keys: dict[str, tuple[int, ...]], says: str, tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "model.safetensors", keys)
    with pytest.raises(AtomtuneError, match=says) as problem:
        load_pipeline(resolve(str(path)))
    assert problem.value.hint


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"not safetensors at all")
    with pytest.raises(AtomtuneError, match=r"model\.safetensors cannot be read"):
        load_pipeline(resolve(str(path)))


def test_pickles_are_refused_unread(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    # a pickle that would leave a trace if it were read
    trap = f"cos\nsystem\n(S'touch {tmp_path / 'trap'}'\ntR."
    (folder / "unet" / "diffusion_pytorch_model.bin").write_text(trap)
    with pytest.raises(AtomtuneError, match=r"pickles only \(unet/diffusion_pytorch_model\.bin\)") as problem:
        load_pipeline(resolve(str(folder)))
    assert ".safetensors" in (problem.value.hint or "")
    for name in ("model.ckpt", "model.pt", "nowhere/model.bin"):
        with pytest.raises(AtomtuneError, match="pickles only"):
            resolve(str(tmp_path / name))
    assert not (tmp_path / "trap").exists()


def test_pickles_that_are_not_needed_do_not_matter(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (folder / "unet" / "diffusion_pytorch_model.bin").write_text("beside the safetensors")
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "pytorch_model.bin").write_text("never loaded")
    assert load_pipeline(resolve(str(folder))).unet is not None


def test_a_folder_with_half_precision_files_alone(tiny_model: Path, tmp_path: Path) -> None:
    load_pipeline(resolve(str(tiny_model))).to(dtype=torch.float16).save_pretrained(tmp_path / "half", variant="fp16")
    assert list((tmp_path / "half" / "unet").glob("*.fp16.safetensors"))
    pipeline = load_pipeline(resolve(str(tmp_path / "half")))
    assert {parameter.dtype for parameter in pipeline.unet.parameters()} == {torch.float32}
