"""Captions by a model: what they say against pocket's truth, which files are written, and which stay."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from atomtune.captioning.captions import make_captions, with_concept
from atomtune.captioning.describers import describer
from atomtune.captioning.options import CaptionOptions
from atomtune.data.captions import captions_of
from atomtune.data.concept import Concept
from atomtune.data.image_files import find_images
from atomtune.errors import AtomtuneError, UsageError
from atomtune.pocket.concept import concept_images, new_thing
from atomtune.pocket.world import SCENES
from small_captioners import WORDS, small_blip, small_florence, small_qwen

Cli = Callable[..., Any]

SEEN = ["", *[scene for scene in SCENES if scene][::3]]


@pytest.fixture
def castles(cli: Cli) -> Path:
    """Renderings of one castle, each in another scene."""
    folder = Path("concepts") / "castle"
    folder.mkdir(parents=True)
    for number, made in enumerate(concept_images("castle", new_thing(2), SEEN)):
        made.image.save(folder / f"{number:02d}.png")
    return folder


def test_pockets_grader_says_what_is_to_be_seen(castles: Path, cli: Cli) -> None:
    answer = cli("caption", "--concept", "castle", "--with", "pocket", "--json")
    made = json.loads(answer.out)
    assert made["written"] == len(SEEN)
    expected = [f"a {{}} {scene}".strip() for scene in SEEN]
    right = sum(one["caption"] == wanted for one, wanted in zip(made["captions"], expected, strict=True))
    assert right >= 0.9 * len(SEEN)
    images, others = find_images(castles)
    assert (len(images), others) == (len(SEEN), [])
    # training puts the concept's words there
    seen = captions_of(images, "a photo of a {}", Concept("castle"))
    assert sum(text == f"a choa castle {scene}".strip() for text, scene in zip(seen, SEEN, strict=True)) == right


def test_text_files_of_the_users_are_never_replaced(castles: Path, cli: Cli) -> None:
    (castles / "00.txt").write_text("my own {}", encoding="utf-8")
    (castles / "01.txt").write_text("", encoding="utf-8")
    caption = ("caption", "--concept", "castle", "--with", "pocket", "--json")
    first = json.loads(cli(*caption).out)
    assert [one["written"] for one in first["captions"]][:3] == [False, False, True]
    (castles / "02.txt").write_text("a {} that somebody described better", encoding="utf-8")
    (castles / "03.txt").unlink()
    assert json.loads(cli(*caption).out)["written"] == 1
    again = cli(*caption, "--overwrite")
    assert json.loads(again.out)["written"] == len(SEEN) - 3
    assert "changed since they were written, so they stay: 02.txt" in again.err
    kept = [(castles / f"0{number}.txt").read_text(encoding="utf-8") for number in range(3)]
    assert kept == ["my own {}", "", "a {} that somebody described better"]
    # without its record nothing is known to be ours
    (castles / ".atomtune-captions.json").write_text("[]", encoding="utf-8")
    assert json.loads(cli(*caption, "--overwrite").out)["written"] == 0


@pytest.mark.parametrize(
    ("text", "noun", "caption"),
    [
        ("a dog on the beach.", "dog", "a {} on the beach"),
        ("A Dog\nbeside a dog", "dog", "A {} beside a dog"),
        ("a hotdog on a plate", "dog", "{}, a hotdog on a plate"),
        ("an old stone house", "castle", "{}, an old stone house"),
        ("a <lora:x:1> {dog}", "dog", "a lora:x:1 {}"),
        ("", "dog", "{}"),
        ("a C++ mug", "C++ mug", "a {}"),
    ],
)
def test_the_concept_takes_the_place_of_its_noun(text: str, noun: str, caption: str) -> None:
    assert with_concept(text, noun) == caption


@pytest.mark.parametrize("made", [small_blip, small_florence, small_qwen], ids=["blip", "florence-2", "qwen-vl"])
def test_models_of_transformers_describe_images(
    made: Callable[[Path], Path], castles: Path, cli: Cli, tmp_path: Path
) -> None:
    if made is small_qwen:
        pytest.importorskip("torchvision")
    model = made(tmp_path / "model")
    flags = ("--concept", "castle", "--with", model, "--max-tokens", "6", "--device", "cpu", "--json")
    answer = cli("caption", *flags)
    assert answer.code == 0, answer.err
    for one in json.loads(answer.out)["captions"]:
        assert one["caption"].startswith("{}") or "{}" in one["caption"]
        said = set(re.findall(r"\w+", one["caption"].split(", ", 1)[-1]))
        assert said <= {*WORDS, "user", "What", "does", "image", "describe"}
    assert cli("caption", *flags, "--overwrite").out == answer.out, "the same images are described otherwise"


def test_what_describes_nothing_is_refused(
    castles: Path, tiny_model: Path, tmp_path: Path, unreachable_hub: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for model, message in (
        (str(tiny_model / "text_encoder"), "is no model that describes images|cannot load the model"),
        (str(tmp_path / "empty"), "is no model that describes images|cannot load the model"),
    ):
        with pytest.raises(AtomtuneError, match=message) as refused:
            describer(CaptionOptions(concept="castle", model=model, device="cpu"))
        assert "\n" not in refused.value.message
        assert "--with takes florence-2" in str(refused.value.hint)
    for wrong in ({"model": "pocket", "question": "what?"}, {"class_noun": " "}, {"max_tokens": 0}):
        with pytest.raises(UsageError):
            CaptionOptions(concept="castle", **wrong)
    assert CaptionOptions(concept="rex=dog").of == Concept("rex", "dog")


def test_images_that_cannot_be_described_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (40, 30)).save(folder / "1.png")
    Image.new("RGB", (40, 30)).save(folder / "1.jpg")
    with pytest.raises(UsageError, match="differ in their ending alone"):
        make_captions(folder, Concept("castle"), lambda: lambda _: "a castle")
    (folder / "1.jpg").rename(folder / "2.jpg")
    (folder / "2.jpg").write_bytes(b"no image")
    with pytest.raises(AtomtuneError, match=r"cannot read 2\.jpg"):
        make_captions(folder, Concept("castle"), lambda: lambda _: "a castle")
    assert (folder / "1.txt").read_text(encoding="utf-8") == "a {}\n", "what was described before is kept"
