"""A concept is published: a folder, or a repository of a small hub here."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from atomtune.files.atoms_file import load_atoms
from conftest import Answer
from hub_server import COMMIT, Hub
from made import made_atoms

FILES = {
    "README.md",
    "castle.safetensors",
    "images/1.png",
    "images/2.png",
    "lora/castle-lora.safetensors",
    "thumbnail.png",
}


def made_run(folder: Path, model: Path) -> Path:
    """A run with two samples, a grid and scores, as train, sample and evaluate leave them."""
    run = folder / "runs" / "castle"
    made_atoms(run / "atoms.safetensors", model, base="CompVis/stable-diffusion-v1-4")
    (run / "samples").mkdir()
    for name in ("0001", "0002", "grid-0001", "0001-base"):
        texts = PngInfo()
        texts.add_text("parameters", f"a photo of a sks castle, {name}\nSteps: 2")
        texts.add_text("atomtune", json.dumps({"atoms": [str(folder / "secret")]}))
        Image.new("RGB", (32, 24), "orange").save(run / "samples" / f"{name}.png", pnginfo=texts)
    (run / "evaluation").mkdir()
    scores = {"n": 25, "fidelity": 0.61234, "alignment": 0.3, "drift": None, "kid": 1.0, "base": {"fidelity": 0.2}}
    (run / "evaluation" / "scores.json").write_text(json.dumps(scores), encoding="utf-8")
    return run


def test_a_folder_holds_what_others_need(cli: Callable[..., Answer], tiny_model: Path, tmp_path: Path) -> None:
    run = made_run(tmp_path / "work", tiny_model)
    done = cli("publish", "--concept", "castle", "--model", tiny_model, "--json")
    assert done.code == 0, done.err
    result, folder = json.loads(done.out), run / "published"
    assert set(result["files"]) == FILES
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert set(found) == FILES | {".atomtune-files"}
    assert all(found[name].stat().st_size == size for name, size in result["files"].items())
    assert load_atoms(found["castle.safetensors"])[2] == load_atoms(run / "atoms.safetensors")[2]
    with Image.open(found["images/1.png"]) as image:
        assert image.size == (32, 24)
        assert image.info == {}
    card: Any = ModelCard.load(found["README.md"])
    assert card.data.base_model == "CompVis/stable-diffusion-v1-4"
    assert card.data.license == result["licence"] == "creativeml-openrail-m"
    assert card.data.instance_prompt == "sks castle"
    assert [one["output"]["url"] for one in card.data.widget] == ["images/1.png", "images/2.png"]
    assert {one["text"].partition(",")[0] for one in card.data.widget} == {"a photo of a sks castle"}
    assert {one.metric_type: one.metric_value for one in card.data.eval_results} == {
        "fidelity": 0.6123,
        "alignment": 0.3,
    }
    assert "| Fidelity: cosine to the photos | 0.6123 |" in card.text

    again = cli("publish", "--concept", "castle", "--model", tiny_model)
    assert again.code == 2
    assert "--overwrite replaces what atomtune wrote there" in again.err
    (folder / "README.md").unlink()
    (folder / "mine.txt").write_text("mine", encoding="utf-8")
    assert cli("publish", "--concept", "castle", "--no-lora", "--overwrite").code == 0
    assert (folder / "mine.txt").read_text(encoding="utf-8") == "mine"


def test_what_is_not_known_is_asked_for(cli: Callable[..., Answer], tiny_model: Path, tmp_path: Path) -> None:
    run = made_run(tmp_path / "work", tiny_model)
    made_atoms(run / "atoms.safetensors", tiny_model, base="a-model")
    done = cli("publish", "--concept", "castle", "--no-lora")
    assert done.code == 2
    assert "the licence of a-model is not known here" in done.err
    done = cli("publish", "--concept", "castle", "--to", "hub")
    assert done.code == 2
    assert "--repository org/mug" in done.err
    image = tmp_path / "work" / "plain.png"
    Image.new("RGB", (8, 8)).save(image)
    done = cli("publish", "--concept", "castle", "--no-lora", "--licence", "mit", "--image", image)
    assert done.code == 1
    assert "has no prompt" in done.err
    image.with_suffix(".txt").write_text("a sks castle at night", encoding="utf-8")
    assert cli("publish", "--concept", "castle", "--no-lora", "--licence", "mit", "--image", image).code == 0
    card: Any = ModelCard.load(run / "published" / "README.md")
    assert card.data.license == "mit"
    assert card.data.base_model is None
    assert [one["text"] for one in card.data.widget] == ["a sks castle at night"]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """An empty repository."""
    (tmp_path / "repository").mkdir()
    hub = Hub(tmp_path / "repository", "org/mug")
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


COMMAND = """
import os, sys
from atomtune.commands.app import main
os.chdir(sys.argv[1])
sys.stderr = sys.stdout
print("code", main(sys.argv[2:]))
"""


@pytest.mark.slow
def test_a_repository_of_the_hub_is_made_and_read_back(hub: Hub, tiny_model: Path, tmp_path: Path) -> None:
    run = made_run(tmp_path, tiny_model)
    home = tmp_path / "home"
    arguments = ["publish", "--concept", "castle", "--to", "hub", "--repository", "org/mug", "--model", str(tiny_model)]
    answer = hub.run(COMMAND, home, str(tmp_path), *arguments)
    assert "castle.safetensors" in answer, "the files are listed first"
    assert "nothing was uploaded, as nobody could be asked" in answer
    assert answer.endswith("code 2")
    assert not list(hub.folder.iterdir())
    assert not hub.made

    answer = hub.run(COMMAND, home, str(tmp_path), *arguments, "--yes", "--private")
    assert answer.endswith("code 0"), answer
    assert {path.relative_to(hub.folder).as_posix() for path in hub.folder.rglob("*") if path.is_file()} == FILES
    assert {"private": True}.items() <= hub.made[0].items() or hub.made[0]["visibility"] == "private"
    assert hub.cards[-1] == (hub.folder / "README.md").read_text(encoding="utf-8")
    assert 'atomtune.load(pipe, "org/mug")' in hub.cards[-1]
    answer = hub.run(COMMAND, home, str(tmp_path), *arguments, "--yes", "--no-lora")
    assert "org/mug holds README.md" in answer
    assert answer.endswith("code 2")

    sample = ["sample", "--model", str(tiny_model), "--prompt", "a <castle>", "--steps", "1", "--size", "32x32"]
    for source in ("org/mug", f"org/mug@{COMMIT}:castle.safetensors:0.5"):
        answer = hub.run(COMMAND, home, str(tmp_path), *sample, "--atoms", source, "--output", "out")
        assert answer.endswith("code 0"), answer
    images = list((tmp_path / "out").rglob("*.png"))
    assert len(images) == 2
    assert all(str(home).encode() not in image.read_bytes() for image in images)
    assert load_atoms(run / "atoms.safetensors")[2] == load_atoms(hub.folder / "castle.safetensors")[2]
