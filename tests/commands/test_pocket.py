"""pocket images and pocket list: what they write and print."""

import json
from pathlib import Path

import pytest
from PIL import Image

from atomtune.commands.app import main
from atomtune.pocket.concept import TRAINING_SCENES
from atomtune.pocket.world import HUES, SCENES, THINGS


def test_images_of_a_new_thing_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "concepts" / "rex"
    command = ["pocket", "images", "--class", "dog", "--instance", "7", "--out", str(folder)]
    assert main([*command, "--scenes", "in the snow, plain", "--count", "3", "--size", "32", "--masks", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [image["scene"] for image in facts["images"]] == ["in the snow", "", "in the snow"]
    assert "--concept rex --class-noun dog" in facts["next"]
    for number, image in enumerate(facts["images"], start=1):
        assert image["path"] == str(folder / f"{number:02d}.png")
        assert image["mask"] == str(folder / f"{number:02d}.mask.png")
        assert Image.open(image["path"]).size == Image.open(image["mask"]).size == (32, 32)
    assert main(command) == 2, "the folder is not empty"
    assert "not empty" in capsys.readouterr().err


def test_without_more_options_there_is_an_image_for_every_training_scene(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pocket", "images", "--class", "cup", "--output", str(tmp_path / "cup")]) == 0
    assert len(list((tmp_path / "cup").iterdir())) == len(TRAINING_SCENES)
    assert str(tmp_path / "cup") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "hint"),
    [(["--class", "dragon"], "castle"), (["--class", "dog", "--scenes", "on the moon"], "atomtune pocket list")],
)
def test_unknown_words_are_answered_with_the_known_ones(
    options: list[str], hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pocket", "images", *options, "--out", str(tmp_path / "x")]) == 2
    assert hint in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_list_shows_classes_scenes_and_colours(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pocket", "list", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == {"classes": list(THINGS), "scenes": [scene for scene in SCENES if scene], "colors": list(HUES)}
    assert main(["pocket", "list"]) == 0
    assert "with the Eiffel Tower in the background" in capsys.readouterr().out
