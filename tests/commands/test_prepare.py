"""atomtune prepare: the sheet of what training will see."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from made import made_atoms

Cli = Callable[..., Any]


@pytest.fixture
def castle(cli: Cli) -> Path:
    """Five images in concepts/castle: one there twice, one small, one with a caption."""
    folder = Path("concepts/castle")
    folder.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (100, 80), (60 * number, 90, 30)).save(folder / f"{number}.png")
    Image.new("RGB", (100, 80), (0, 90, 30)).save(folder / "again.png")
    Image.new("RGB", (40, 30), (9, 9, 9)).save(folder / "small.png")
    (folder / "1.txt").write_text("seen from the lake")
    return folder


def test_the_sheet_and_the_keys(cli: Cli, castle: Path) -> None:
    answer = cli("prepare", "--concept", "castle", "--model", "pocket", "--resolution", "64", "--flip", "--json")
    assert answer.code == 0, answer.err
    data = json.loads(answer.out)
    assert set(data) == {"sheet", "base", "resolution", "crop", "flip", "images", "warnings", "words", "class_noun"}
    assert (data["base"], data["resolution"], data["crop"], data["flip"]) == ("pocket", 64, "center", True)
    assert data["sheet"] == "runs/castle/prepare.png"
    assert (data["words"], data["class_noun"]) == ("choa castle", "castle")
    images = {Path(image["path"]).name: image for image in data["images"]}
    assert set(images["1.png"]) == {
        "path",
        "width",
        "height",
        "caption",
        "same_as",
        "enlarged",
        "masked",
        "trained_width",
        "trained_height",
        "held_out",
        "similar_to",
    }
    assert images["1.png"]["caption"] == "choa castle, seen from the lake"
    assert images["2.png"]["caption"] == "a photo of a choa castle"
    assert (images["small.png"]["width"], images["small.png"]["height"]) == (40, 30)
    assert [name for name, image in images.items() if image["enlarged"]] == ["small.png"]
    assert images["again.png"]["same_as"] == "concepts/castle/0.png"
    assert len(data["warnings"]) == 3
    assert answer.err.count("Warning: ") == 3
    sheet = np.asarray(Image.open(data["sheet"]).convert("RGB")).reshape(-1, 3)
    for number in range(4):
        assert (sheet == (60 * number, 90, 30)).all(axis=1).sum() > 30_000, "the image is on the sheet"


def test_the_resolution_is_the_models_and_needs_no_weights(cli: Cli, castle: Path) -> None:
    answer = cli("prepare", "--concept", "castle")
    assert answer.code == 0, answer.err
    assert '6 images (1 kept out) of "' in answer.out
    assert ": 6 at 576×448, center crop\nclass noun: castle\n" in answer.out
    assert "enlarged: " in answer.err
    assert "1.png" in answer.out
    assert answer.out.splitlines()[-1] == "runs/castle/prepare.png"


def test_nothing_is_overwritten(cli: Cli, castle: Path) -> None:
    command = ("prepare", "--concept", "castle", "--resolution", "64")
    assert cli(*command).code == 0
    before = Path("runs/castle/prepare.png").read_bytes()
    refused = cli(*command, "--crop", "random")
    assert refused.code == 2
    assert "--overwrite" in refused.err
    assert Path("runs/castle/prepare.png").read_bytes() == before
    assert cli(*command, "--overwrite").code == 0


@pytest.mark.parametrize("words", [("prepare", "--concept", "castle", "--output", "mine"), ("concepts", "--sheet")])
def test_a_sheet_never_replaces_an_image_of_the_users(
    cli: Cli, castle: Path, tiny_model: Path, words: tuple[str, ...]
) -> None:
    made_atoms(Path("runs/castle/atoms.safetensors"), tiny_model)
    own = Path("mine/prepare.png") if words[0] == "prepare" else Path("runs/concepts.png")
    own.parent.mkdir(exist_ok=True)
    own.write_bytes(b"the user's")
    answer = cli(*words, *(["--model", tiny_model, "--overwrite"] if words[0] == "prepare" else []))
    assert answer.code == 2
    error, hint = answer.err.splitlines()[-2:]
    assert f"{own.name}, which atomtune did not write" in error
    assert hint.startswith("Hint: move it away")
    assert own.read_bytes() == b"the user's"


def test_training_goes_where_prepare_was(cli: Cli, castle: Path, tiny_model: Path) -> None:
    assert cli("prepare", "--concept", "castle", "--model", tiny_model).code == 0
    answer = cli("train", "--concept", "castle", "--model", tiny_model, "--steps", "1", "--crop", "random", "--json")
    assert answer.code == 0, answer.err
    assert answer.err.count("Warning: ") == 2
    assert json.loads(Path("runs/castle/run.json").read_text())["options"]["data"]["crop"] == "random"


def test_many_images_fit_on_a_sheet(cli: Cli) -> None:
    folder = Path("concepts/castle")
    folder.mkdir(parents=True)
    for number in range(30):
        Image.new("RGB", (16, 16), (8 * number, 0, 0)).save(folder / f"{number:02d}.png")
        (folder / f"{number:02d}.txt").write_text("{} " + "very " * 40 + "\N{SNOWMAN} far away")
    answer = cli("prepare", "--concept", "castle", "--resolution", "16", "--quiet")
    assert answer.code == 0, answer.err
    width, height = Image.open("runs/castle/prepare.png").size
    assert 0.5 < width / height < 2


def test_broken_images_end_it(cli: Cli, castle: Path) -> None:
    (castle / "bad.jpg").write_text("no image")
    answer = cli("prepare", "--concept", "castle", "--resolution", "64")
    assert answer.code == 1
    assert answer.err.startswith("Error: cannot read 1 of 7 images")
    assert not Path("runs").exists()
