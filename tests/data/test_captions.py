"""Captions beside the images."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from atomtune.data.captions import SHUFFLES, caption_variants, captions_of
from atomtune.data.concept import Concept
from atomtune.errors import AtomtuneError, Interrupted
from atomtune.files.atoms_file import load_atoms
from atomtune.training.loop import Loop
from atomtune.training.options import TrainOptions
from atomtune.training.train import train
from photo_files import Heard

CASTLE = Concept("castle", "castle", "sks")


def captions(folder: Path, **texts: str) -> tuple[list[str], list[str]]:
    """Captions of 1.jpg to 5.jpg where some of them have a text file, and the warnings."""
    for name, text in texts.items():
        (folder / f"{name.removeprefix('_')}.txt").write_text(text, encoding="utf-8")
    heard = Heard()
    images = [folder / f"{number}.jpg" for number in range(1, 6)]
    return captions_of(images, "a photo of a {}", CASTLE, heard), heard.warnings


def test_images_without_a_text_get_the_prompt(tmp_path: Path) -> None:
    assert captions(tmp_path, _2="  \n") == (["a photo of a sks castle"] * 5, [])


def test_texts_may_call_the_concept_in_every_way(tmp_path: Path) -> None:
    found, warnings = captions(
        tmp_path, _1="a {} at dawn\n", _2="\ufeffthe <castle>,\n  seen from below ", _3="SKS castle", _4="an old sks"
    )
    assert found == [
        "a sks castle at dawn",
        "the sks castle, seen from below",
        "SKS castle",
        "an old sks",
        "a photo of a sks castle",
    ]
    assert warnings == []


def test_texts_that_do_not_name_it_get_its_words(tmp_path: Path) -> None:
    found, warnings = captions(tmp_path, _1="a castle on a hill", _2="desksks", _3="{} by night")
    assert found[:3] == ["sks castle, a castle on a hill", "sks castle, desksks", "sks castle by night"]
    assert warnings == ['captions that do not name the concept get "sks castle, " in front: 1.txt, 2.txt']


def test_texts_that_cannot_be_used_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(
        AtomtuneError, match=r"2 captions .*1\.txt \(it is not UTF-8 text\), 2\.txt .*than <castle>"
    ) as problem:
        captions(tmp_path, _2="a <dog>")
    assert "{}" in (problem.value.hint or "")


def test_a_tag_of_another_program_is_no_caption(tmp_path: Path) -> None:
    with pytest.raises(AtomtuneError, match=r"1\.txt \(it names the tag <lora:castle:1> of another program\)"):
        captions(tmp_path, _1="a castle <lora:castle:1>")


def test_endless_texts_are_not_read_whole(tmp_path: Path) -> None:
    found, _ = captions(tmp_path, _1="sks castle " * 100_000)
    assert len(found[0]) <= 10_000


def test_training_sees_every_caption_with_its_image(
    options: Callable[..., TrainOptions], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (images / "1.txt").write_text("{} in the snow")
    (images / "3.txt").write_text("{} by night")
    (images / "4.txt").write_text("{} in the snow")
    loops = []
    prepare = Loop.__post_init__
    monkeypatch.setattr(Loop, "__post_init__", lambda self: (loops.append(self), prepare(self))[1])
    whole = train(options(flip=True), tmp_path / "whole")
    _, info, _ = load_atoms(whole.atoms_file)
    assert info.prompts == ["a photo of a sks castle", "sks castle in the snow", "sks castle by night"]
    assert loops[0].batches.captions == ((0,), (1,), (0,), (2,), (1,))
    assert len(loops[0].condition) == 3
    (images / "3.txt").unlink()
    assert train(options(flip=True), tmp_path / "other").sha256 != whole.sha256


def test_a_run_with_random_crops_and_captions_resumes_bit_equal(
    options: Callable[..., TrainOptions], images: Path, tmp_path: Path
) -> None:
    (images / "1.txt").write_text("{} in the snow")
    asked = options(crop="random", flip=True)
    whole = train(asked, tmp_path / "whole")
    torch.rand(3)  # nobody else's draws matter

    class Stop(Heard):
        def advance(self, note: str = "") -> None:
            if note.startswith("loss"):
                raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, Interrupted)):
        train(asked, tmp_path / "parts", events=Stop())
    assert train(asked, tmp_path / "parts", resume=True).sha256 == whole.sha256
    assert train(options(flip=True), tmp_path / "centre").sha256 != whole.sha256


def test_every_line_can_be_a_caption_of_its_own(tmp_path: Path) -> None:
    image = tmp_path / "1.jpg"
    image.with_suffix(".txt").write_text("a {} on a hill\n\n  seen   from below \n", encoding="utf-8")
    heard = Heard()
    found = captions_of([image, tmp_path / "2.jpg"], "a photo of a {}", CASTLE, heard, lines=True)
    assert found == ["a sks castle on a hill\nsks castle, seen from below", "a photo of a sks castle"]
    assert heard.warnings == ['captions that do not name the concept get "sks castle, " in front: 1.txt']
    assert captions_of([image], "a {}", CASTLE) == ["a sks castle on a hill seen from below"]
    assert caption_variants(found[0], False, 1, 0) == ("a sks castle on a hill", "sks castle, seen from below")


def test_tags_are_shuffled_but_for_the_first_ones() -> None:
    caption = "sks castle, tower, moat, snow, night, flag"
    variants = caption_variants(caption, True, 2, seed=0)
    assert len(variants) == SHUFFLES
    assert len(set(variants)) > SHUFFLES // 2
    for variant in variants:
        assert variant.startswith("sks castle, tower, ")
        assert sorted(variant.split(", ")) == sorted(caption.split(", "))
    assert variants == caption_variants(caption, True, 2, seed=0) != caption_variants(caption, True, 2, seed=1)
    for unchanged in ("a photo of a sks castle", "sks castle, tower", "a,b"):
        assert caption_variants(unchanged, True, 1, 0) == (unchanged,)
