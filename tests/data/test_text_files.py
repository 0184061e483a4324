"""Captions, prompts and names as all systems and scripts write them."""

import codecs
import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomtune.data.captions import captions_of
from atomtune.data.concept import Concept, expand, names, read_prompts
from atomtune.data.image_files import find_images
from atomtune.data.tokens import default_token
from atomtune.errors import AtomtuneError, UsageError

CASTLE = Concept("castle", "castle", "sks")
ENCODINGS = {
    "plain": ("utf-8", b""),
    "UTF-8 with a mark": ("utf-8", codecs.BOM_UTF8),
    "Windows Unicode": ("utf-16-le", codecs.BOM_UTF16_LE),
    "big-endian": ("utf-16-be", codecs.BOM_UTF16_BE),
    "32 bits": ("utf-32-le", codecs.BOM_UTF32_LE),
}
LINE_ENDS = ["\n", "\r\n", "\r", "\x85", "\u2028", "\u2029", "\x0b", "\x0c"]


@pytest.mark.parametrize("kind", ENCODINGS)
@pytest.mark.parametrize("end", LINE_ENDS, ids=ascii)
def test_prompts_are_read_whatever_wrote_them(kind: str, end: str, tmp_path: Path) -> None:
    encoding, mark = ENCODINGS[kind]
    text = end.join(["a {} in the snow", "", "# a comment", "  a café with a <castle> ", ""])
    (tmp_path / "prompts.txt").write_bytes(mark + text.encode(encoding))
    assert read_prompts(tmp_path / "prompts.txt", [CASTLE]) == ["a sks castle in the snow", "a café with a sks castle"]


@pytest.mark.parametrize("kind", ENCODINGS)
@pytest.mark.parametrize("end", LINE_ENDS, ids=ascii)
def test_captions_are_read_whatever_wrote_them(kind: str, end: str, tmp_path: Path) -> None:
    encoding, mark = ENCODINGS[kind]
    (tmp_path / "1.txt").write_bytes(mark + f"a {{}},{end}seen from below{end}".encode(encoding))
    assert captions_of([tmp_path / "1.jpg"], "a {}", CASTLE) == ["a sks castle, seen from below"]


@pytest.mark.parametrize("ending", [".txt", ".TXT", ".Txt"])
def test_endings_of_captions_have_any_case(ending: str, tmp_path: Path, images: Path) -> None:
    (images / f"0{ending}").write_text("an old {}")
    found, others = find_images(images)
    assert others == []
    assert captions_of(found, "a {}", CASTLE)[:2] == ["an old sks castle", "a sks castle"]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"caf\xe9", b"\x80\x81", codecs.BOM_UTF16_LE + b"\x00\xd8"])
def test_other_bytes_are_said_to_be_no_text(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_bytes(content)
    with pytest.raises(AtomtuneError, match=r"1\.txt \(it is not UTF-8 text\)"):
        captions_of([tmp_path / "1.jpg"], "a {}", CASTLE)
    with pytest.raises(UsageError, match="it is not UTF-8 text"):
        read_prompts(tmp_path / "1.txt", [CASTLE])


def test_a_file_without_an_end_is_not_read_for_ever(tmp_path: Path) -> None:
    with (tmp_path / "1.txt").open("wb") as stream:
        stream.truncate(10**12)
    with pytest.raises(AtomtuneError, match="over 8,000,000 bytes"):
        captions_of([tmp_path / "1.jpg"], "a {}", CASTLE)


def test_what_prepare_accepts_train_accepts(cli: Callable[..., Any], images: Path, tiny_model: Path) -> None:
    (images / "0.txt").write_text("very " * 90 + "old {}")
    model = ("--concept", "castle", "--images", images, "--model", tiny_model)
    for command in (("prepare", *model), ("train", *model, "--steps", 1, "--device", "cpu")):
        answer = cli(*command)
        assert answer.code == 2, answer.err
        assert "is in the part that is cut" in answer.err
    (images / "0.txt").write_text("an old {}, " + "very " * 90)
    for command in (("prepare", *model), ("train", *model, "--steps", 1, "--device", "cpu")):
        answer = cli(*command)
        assert answer.code == 0, answer.err
        assert "over 77 tokens" in answer.err


SCRIPTS = ["猫", "Élan", "кот", "हिन्दी", "قطة", "ねこ-2", "my_castle.v2", "7"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_concepts_have_names_in_any_script(name: str) -> None:
    concept = Concept(name, "cat", "sks")
    assert expand(f"a <{name}>, in the snow", [concept]) == "a sks cat, in the snow"
    assert names(f"a <{name}>", concept)


def test_a_letter_that_is_typed_as_two_is_the_same_letter() -> None:
    parts = unicodedata.normalize("NFD", "Élan")
    assert parts != "Élan"
    assert Concept(parts, "car").name == Concept("Élan", "car").name
    expected = f"a {default_token('Élan')} car"
    assert expand(f"a <{parts}>", [Concept("Élan", "car")]) == expand("a <Élan>", [Concept(parts, "car")]) == expected


@pytest.mark.parametrize(
    "name", ["", ".hidden", "..", "-x", "_x", "a b", "a/b", "a\\b", "a:b", "<a>", "a\n", "😀", "x" * 101]
)
def test_other_names_are_refused_with_the_letters_that_may_be(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a concept") as problem:
        Concept(name, "cat")
    assert "letters and digits of any script" in (problem.value.hint or "")


@pytest.mark.parametrize("name", ["猫", "Élan"])
def test_a_concept_in_another_script_is_trained_and_generated(
    name: str, cli: Callable[..., Any], images: Path, tiny_model: Path
) -> None:
    shutil.copytree(images, Path("concepts") / name)
    trained = cli("train", "--concept", name, "--model", tiny_model, "--steps", 1, "--device", "cpu")
    assert trained.code == 0, trained.err
    answer = cli("sample", "--concept", name, "--prompt", f"a <{name}>", "--steps", 1, "--size", "32x32", "--json")
    assert answer.code == 0, answer.err
    (image,) = json.loads(answer.out)["images"]
    assert image["prompt"] == f"a {default_token(name)} {name}"
    assert Path(image["path"]).is_file()
