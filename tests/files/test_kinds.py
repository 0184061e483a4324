"""Files that are taken for atoms files: what they are is said, by every reader."""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

from atomtune.errors import AtomtuneError
from atomtune.files.atoms_file import load_atoms
from atomtune.files.decomposition_file import load_decomposition
from atomtune.files.describe import describe


def image(kind: str) -> Callable[[Path], object]:
    return lambda path: Image.new("RGB", (8, 8)).save(path, format=kind)


def tensors(*names: str) -> Callable[[Path], object]:
    return lambda path: save_file({name: torch.ones(2) for name in names}, path)


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps({"a": 1}))


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "image.png": (image("PNG"), "is a PNG image"),
    "image.jpg": (image("JPEG"), "is a JPEG image"),
    "image.gif": (image("GIF"), "is a GIF image"),
    "image.webp": (image("WEBP"), "is a WebP image"),
    "atoms.safetensors": (image("PNG"), "is a PNG image"),
    "model.pt": (archive, "is a zip archive, as PyTorch's pickles are"),
    "model.bin": (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "is a pickle"),
    "run.json": (lambda path: path.write_text(json.dumps({"options": {}})), "is text, perhaps JSON"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "lora.safetensors": (tensors("lora_unet_down.lora_up.weight"), "is a LoRA file"),
    "peft.safetensors": (tensors("unet.down.lora_A.weight"), "is an adapter file of another program"),
    "sd.safetensors": (tensors("model.diffusion_model.a", "first_stage_model.b"), "is a Stable Diffusion checkpoint"),
    "unet.safetensors": (tensors("conv_in.weight"), "is a part of a diffusers model"),
    "other.safetensors": (tensors("x"), "was not written by atomtune"),
    "folder": (lambda path: path.mkdir(), "is a folder, not a file"),
}


@pytest.mark.parametrize("name", KINDS)
def test_files_of_other_kinds_are_named(name: str, tmp_path: Path) -> None:
    make, says = KINDS[name]
    make(tmp_path / name)
    readers = (
        (load_atoms, load_decomposition) if says == "is a PNG image" else (describe, load_atoms, load_decomposition)
    )
    for read in readers:  # of a PNG `describe` says more
        with pytest.raises(AtomtuneError, match=says) as problem:
            read(tmp_path / name)
        assert problem.value.hint
        assert "\n" not in problem.value.message


def test_folders_of_runs_and_models_are_named(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "atoms.safetensors").write_bytes(b"")
    with pytest.raises(AtomtuneError, match="is the folder of a run") as problem:
        describe(tmp_path)
    assert str(tmp_path / "atoms.safetensors") in (problem.value.hint or "")
    with pytest.raises(AtomtuneError, match="is a diffusers model"):
        describe(tiny_model)


def test_inspect_says_it_in_one_line(cli: Callable[..., Any], tmp_path: Path) -> None:
    for kind in ("PNG", "JPEG"):
        image(kind)(tmp_path / "image")
        answer = cli("inspect", tmp_path / "image")
        assert answer.code == 1
        assert answer.out == ""
        assert [line.split(":")[0] for line in answer.err.strip().splitlines()] == ["Error", "Hint"]


def test_inspect_shows_the_settings_beside_a_workflow_of_megabytes(cli: Callable[..., Any], tmp_path: Path) -> None:
    text = PngInfo()
    text.add_text("parameters", "a castle\nSteps: 20, Seed: 1")
    text.add_text("workflow", "x" * 3_000_000, zip=True)
    text.add_text("prompt", "x" * 2_000_000)
    Image.new("RGB", (8, 8)).save(tmp_path / "comfyui.png", pnginfo=text)
    answer = cli("inspect", tmp_path / "comfyui.png")
    assert answer.code == 0, answer.err
    assert "a castle" in answer.out
