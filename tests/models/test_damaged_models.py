"""Models that are damaged or of another kind: named at loading, part and weight, never filled with random numbers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from atomtune.errors import AtomtuneError
from atomtune.models.architecture import native_resolution
from atomtune.models.base_model import load_pipeline, load_unet, resolve
from atomtune.models.single_file import Family, SingleFile, load_single_file
from atomtune.models.tokenizer import END
from single_file import TEXT, UNET, VAE, write_single_file
from tiny import tiny_xl

FILES = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
}
NORMS = {
    "unet": "conv_norm_out.weight",
    "vae": "decoder.conv_norm_out.weight",
    "text_encoder": "final_layer_norm.weight",
}
parts = pytest.mark.parametrize("part", FILES)


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def edit(path: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


def change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def key_of(tensors: dict[str, Tensor], end: str) -> str:
    return next(key for key in tensors if key.endswith(end))


def refused(folder: Path, match: str, load: Callable[[Any], object] = load_pipeline) -> None:
    with pytest.raises(AtomtuneError, match=match) as problem:
        load(resolve(str(folder)))
    assert problem.value.hint
    assert "\n" not in problem.value.message


@parts
def test_a_missing_weight_is_named(part: str, folder: Path) -> None:
    def lose(tensors: dict[str, Tensor]) -> None:
        del tensors[key_of(tensors, NORMS[part])]

    edit(folder / part / FILES[part], lose)
    for load in (load_pipeline, load_unet) if part == "unet" else (load_pipeline,):
        refused(folder, rf"the {part} of .* lacks weights: .*{NORMS[part]}$", load)


@parts
def test_of_many_missing_weights_the_first_are_named(part: str, folder: Path) -> None:
    def lose(tensors: dict[str, Tensor]) -> None:
        for key in list(tensors)[1:]:
            del tensors[key]

    edit(folder / part / FILES[part], lose)
    refused(folder, rf"the {part} of .* lacks weights: \S+, \S+, \S+ and \d+ more$")


@parts
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_named(part: str, value: float, folder: Path) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        tensors[key_of(tensors, NORMS[part])][-1] = value

    edit(folder / part / FILES[part], spoil)
    refused(folder, rf"the {part} of .* holds NaN or infinite values in .*{NORMS[part]}$")


@parts
def test_a_weight_of_another_shape_is_named(part: str, folder: Path) -> None:
    def grow(tensors: dict[str, Tensor]) -> None:
        key = key_of(tensors, NORMS[part])
        tensors[key] = torch.cat([tensors[key]] * 2)

    edit(folder / part / FILES[part], grow)
    refused(folder, rf"the {part} of .* has .*{NORMS[part]} in another shape")


def test_what_the_libraries_say_of_it_is_not_shown(folder: Path, cli: Callable[..., Any]) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        key = key_of(tensors, NORMS["text_encoder"])
        tensors[key] = torch.cat([tensors[key]] * 2)

    edit(folder / "text_encoder" / FILES["text_encoder"], spoil)
    answer = cli("sample", "--model", folder, "--prompt", "a dog", "--steps", 1)
    assert answer.code == 1
    assert [line.split()[0] for line in answer.err.splitlines()] == ["Loading", "Error:", "Hint:"]


def test_what_diffusers_says_of_old_configurations_is_not_shown(folder: Path, cli: Callable[..., Any]) -> None:
    change(folder / "scheduler" / "scheduler_config.json", steps_offset=0, clip_sample=True)
    change(folder / "unet" / "config.json", _diffusers_version="0.6.0")
    answer = cli("sample", "--model", folder, "--prompt", "a dog", "--steps", 1, "--size", "32x32")
    assert answer.code == 0, answer.err
    assert "outdated" not in answer.err
    assert "deprecated" not in answer.err


@parts
@pytest.mark.parametrize("content", [b"", b"no safetensors", b"\xff" * 100])
def test_a_file_that_is_no_safetensors_is_named(part: str, content: bytes, folder: Path) -> None:
    (folder / part / FILES[part]).write_bytes(content)
    refused(folder, rf"{part}/{FILES[part]} of .* cannot be read")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
@pytest.mark.parametrize("content", [None, "", "{", "[]", "\x00", "{}"])
def test_configurations_that_are_damaged_are_named(part: str, content: str | None, folder: Path) -> None:
    (path,) = (folder / part).glob("*config.json")
    path.unlink()
    if content is not None:
        path.write_text(content)
    named = part if content == "{}" else f"{part}/{path.name}"
    refused(folder, named)


@pytest.mark.parametrize("class_name", ["FlowMatchEulerDiscreteScheduler", "EDMEulerScheduler", "RePaintScheduler"])
def test_schedulers_of_other_kinds_of_models_are_refused_by_name(class_name: str, folder: Path) -> None:
    change(folder / "model_index.json", scheduler=["diffusers", class_name])
    for load in (load_pipeline, load_unet):
        refused(folder, f"the scheduler of .* is a {class_name}, which is not supported", load)


def test_a_scheduler_whose_configuration_is_of_another_class_is_refused(folder: Path) -> None:
    change(folder / "scheduler" / "scheduler_config.json", _class_name="FlowMatchEulerDiscreteScheduler", shift=3.0)
    refused(folder, "FlowMatchEulerDiscreteScheduler")


@pytest.mark.parametrize("prediction", ["sample", "flow", None, 3])
def test_other_predictions_are_refused(prediction: object, folder: Path) -> None:
    change(folder / "scheduler" / "scheduler_config.json", prediction_type=prediction)
    refused(folder, "predicts .*, which is not supported")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"in_channels": 9}, "is for another task: its UNet takes 9 channels and gives 4"),
        ({"out_channels": 8}, "is for another task: its UNet takes 4 channels and gives 8"),
        ({"num_class_embeds": 10}, "has class or image embeddings"),
        ({"class_embed_type": "timestep"}, "has class or image embeddings"),
        ({"encoder_hid_dim_type": "image_proj"}, "has class or image embeddings"),
        ({"addition_embed_type": "text"}, "has the conditioning text, which does not fit"),
        ({"addition_embed_type": "text_time"}, "has the conditioning text_time, which does not fit"),
        ({"in_channels": 16, "out_channels": 16}, "the VAE of .* has 4 latent channels, its UNet 16"),
        ({"cross_attention_dim": 768}, "the text of .* has the width 16, its UNet takes 768"),
        ({"_class_name": "UNet3DConditionModel"}, "UNet3DConditionModel"),
    ],
)
def test_unets_of_other_kinds_are_refused(changes: dict[str, object], match: str, folder: Path) -> None:
    change(folder / "unet" / "config.json", **changes)
    refused(folder, match)


def test_a_unet_of_sdxl_without_its_conditioning_is_refused(tmp_path: Path) -> None:
    folder = tiny_xl(tmp_path / "xl")
    change(folder / "unet" / "config.json", addition_embed_type=None)
    refused(folder, "has the conditioning None, which does not fit")


@pytest.mark.parametrize("size", [None, "64", 0, -1, [], [None], True, 10**6])
def test_an_image_size_that_is_not_said_is_not_guessed(size: object, folder: Path) -> None:
    change(folder / "unet" / "config.json", sample_size=size)
    refused(folder, "does not say its image size", native_resolution)


def test_a_model_without_an_image_size_generates_in_the_size_asked_for(folder: Path, cli: Callable[..., Any]) -> None:
    change(folder / "unet" / "config.json", sample_size=None)
    sized = cli("sample", "--model", folder, "--prompt", "a dog", "--steps", 1, "--size", "32x32")
    assert sized.code == 0, sized.err
    plain = cli("sample", "--model", folder, "--prompt", "a dog", "--steps", 1)
    assert plain.code == 1
    assert "the model does not say its image size" in plain.err


@pytest.mark.parametrize("length", ["missing", 10**30, None, "77"])
def test_a_tokenizer_without_its_length_is_refused(length: object, folder: Path) -> None:
    path = folder / "tokenizer" / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config.pop("model_max_length")
    path.write_text(json.dumps(config if length == "missing" else config | {"model_max_length": length}))
    refused(folder, "tokenizer/tokenizer_config.json of .* has no model_max_length")


def test_a_tokenizer_without_its_vocabulary_is_refused(folder: Path) -> None:
    for path in (folder / "tokenizer").iterdir():
        if path.name != "tokenizer_config.json":
            path.unlink()
    refused(folder, "tokenizer")


def test_parts_that_the_index_does_not_name_are_missed(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    del index["vae"]
    (folder / "model_index.json").write_text(json.dumps(index))
    refused(folder, "names no vae")


@pytest.mark.parametrize("prefix", [UNET, VAE, TEXT])
@pytest.mark.parametrize("fault", ["missing", "nan"])
def test_single_files_are_checked_too(prefix: str, fault: str, tiny_model: Path, tmp_path: Path) -> None:
    path = write_single_file(load_pipeline(resolve(str(tiny_model))), tmp_path / "model.safetensors")
    norms = ("out.0.weight", "decoder.norm_out.weight", "final_layer_norm.weight")

    def damage(tensors: dict[str, Tensor]) -> None:
        key = next(key for key in tensors if key.startswith(prefix) and key.endswith(norms))
        if fault == "missing":
            del tensors[key]
        else:
            tensors[key][0] = float("nan")

    edit(path, damage)
    # the configuration is the tiny model's here, as the files of the field are all of the three full sizes
    bare = tmp_path / "bare"
    shutil.copytree(tiny_model, bare, ignore=shutil.ignore_patterns("*.safetensors", "tokenizer"))
    found = SingleFile(Family(str(bare), {"tokenizer": END}), "epsilon", zero_terminal_snr=False)
    with pytest.raises(AtomtuneError, match="lacks weights" if fault == "missing" else "holds NaN"):
        load_single_file(path, found)
