"""Folders of photos: what is taken, what is left out, what is said about it, and how squares are cut."""

import os
import random
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atomtune.data.crop import fitted, place_of
from atomtune.data.image_files import find_images
from atomtune.data.images import load_images
from atomtune.errors import AtomtuneError, UsageError
from photo_files import Heard, fill, noise, png_header


def square(image: Image.Image, side: int, crop: str = "center", seed: int = 0, name: str = "") -> Image.Image:
    return fitted(image, (side, side), place_of(image, crop, seed, name))


def test_folders_without_images(tmp_path: Path) -> None:
    with pytest.raises(AtomtuneError, match="there is no folder"):
        load_images(tmp_path / "none", 32)
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(AtomtuneError, match=r"there are no images in .*: notes\.txt") as problem:
        load_images(tmp_path, 32)
    assert "4 to 9" in (problem.value.hint or "")


def test_good_images_need_no_words(tmp_path: Path) -> None:
    heard = Heard()
    images = load_images(fill(tmp_path, 5), 32, events=heard)
    assert [image.path.name for image in images] == ["00.png", "01.png", "02.png", "03.png", "04.png"]
    assert {image.image.size for image in images} == {(32, 32)}
    assert {image.size for image in images} == {(48, 48)}
    assert heard.warnings == []


def test_what_else_lies_there_is_left_out_and_listed(tmp_path: Path) -> None:
    fill(tmp_path, 4)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._00.png", "00.txt", "01.txt"):
        (tmp_path / name).write_text("")
    for name in ("notes.md", "99.txt", ".secret.png", "IMG_1.CR2", "clip.mov"):
        (tmp_path / name).write_text("")
    (tmp_path / "more").mkdir()
    (tmp_path / "folder.png").mkdir()
    noise(48, 48, 7).save(tmp_path / "UPPER.JPG", "JPEG")
    heard = Heard()
    images = load_images(tmp_path, 32, events=heard)
    assert [image.path.name for image in images] == ["00.png", "01.png", "02.png", "03.png", "UPPER.JPG"]
    (warning,) = heard.warnings
    listed = warning.split(": ")[1].split(", ")
    assert sorted(listed) == sorted(
        [".secret.png", "99.txt", "IMG_1.CR2", "clip.mov", "folder.png/", "more/", "notes.md"]
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_and_dead_links_do_not_hang(tmp_path: Path) -> None:
    fill(tmp_path, 4)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    images, others = find_images(tmp_path)
    assert len(images) == 4
    assert others == ["link.png", "pipe.png"]


def test_names_that_would_break_a_line_are_escaped(tmp_path: Path) -> None:
    fill(tmp_path, 4)
    (tmp_path / "two\nlines.md").write_text("")
    heard = Heard()
    load_images(tmp_path, 32, events=heard)
    assert "two\\nlines.md" in heard.warnings[0]


def test_broken_images_are_all_named(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.webp").touch()
    (tmp_path / "bomb.png").write_bytes(png_header(60_000, 60_000))
    whole = (tmp_path / "00.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AtomtuneError) as problem:
        load_images(tmp_path, 32)
    for part in (
        "4 of 9",
        "bomb.png (more than 89,",
        "cut.png (",
        "empty.webp (the file is empty)",
        "text.jpg (not an image",
    ):
        assert part in problem.value.message
    assert "\n" not in problem.value.message


def test_heic_without_its_package_names_the_files_and_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, 4)
    for name in ("a.heic", "b.HEIC"):
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(AtomtuneError, match=r"2 of 6 .*a\.heic \(HEIC\), b\.HEIC") as problem:
        load_images(tmp_path, 32)
    assert problem.value.hint == 'for HEIC: pip install "atomtune[heic]"'


def test_duplicates_are_pointed_out(tmp_path: Path) -> None:
    fill(tmp_path, 4)
    Image.open(tmp_path / "01.png").save(tmp_path / "copy.bmp")
    heard = Heard()
    load_images(tmp_path, 32, events=heard)
    assert heard.warnings == ["the same image 2 times: 01.png, copy.bmp"]


def test_small_images_are_pointed_out(tmp_path: Path) -> None:
    fill(tmp_path, 4)
    noise(200, 20).save(tmp_path / "flat.png")
    heard = Heard()
    images = load_images(tmp_path, 32, events=heard)
    assert heard.warnings == ["smaller than what is trained on and enlarged: flat.png (200×20)"]
    assert images[-1].image.size == (32, 32)


@pytest.mark.parametrize(("count", "is_odd"), [(1, True), (3, True), (4, False), (9, False), (10, True)])
def test_too_few_and_too_many_are_said_to_be(tmp_path: Path, count: int, is_odd: bool) -> None:
    heard = Heard()
    load_images(fill(tmp_path, count), 32, events=heard)
    assert [warning.endswith("4 to 9 work best") for warning in heard.warnings] == [True] * is_odd


def test_five_hundred_photos_need_little_more_memory_than_their_squares(tmp_path: Path) -> None:
    for number in range(500):
        noise(320, 240, number).save(tmp_path / f"{number:03d}.jpg")
    Image.init()
    tracemalloc.start()
    images = load_images(tmp_path, 64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(images) == 500
    assert peak < 20e6, "Pillow's own pixels are not counted, copies of them are"


def test_the_middle_is_kept() -> None:
    wide = Image.new("RGB", (60, 20), (255, 0, 0))
    wide.paste((0, 0, 255), (20, 0, 40, 20))
    for image in (wide, wide.transpose(Image.Transpose.ROTATE_90)):
        assert np.asarray(square(image, 8)).reshape(-1, 3)[:, 2].min() > 200


def test_random_crops_depend_on_seed_and_name_alone() -> None:
    ramp = Image.fromarray(np.tile(np.arange(200, dtype=np.uint8), (50, 1))).convert("RGB")

    def left(seed: int, name: str) -> int:
        return int(np.asarray(square(ramp, 50, "random", seed, name))[25, 1, 0])

    states = random.getstate(), torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    assert left(0, "a.jpg") == left(0, "a.jpg")
    places = [left(0, f"{number}.jpg") for number in range(60)]
    assert len(set(places)) > 25
    assert min(places) < 25
    assert max(places) > 125
    assert places != [left(1, f"{number}.jpg") for number in range(60)]
    assert states[0] == random.getstate()
    assert torch.equal(states[1], torch.get_rng_state())
    assert states[2] == str(np.random.get_state())  # noqa: NPY002


def test_smart_crops_find_the_thing() -> None:
    pytest.importorskip("smartcrop")
    for turned in (False, True):
        wide = Image.new("RGB", (900, 300), (200, 200, 200))
        wide.paste(noise(200, 200), (650, 50))
        image = wide.transpose(Image.Transpose.ROTATE_90) if turned else wide
        detail = np.asarray(square(image, 100, "smart")).astype(float).std(axis=2) > 10
        assert detail.mean() > 0.3
        assert (np.asarray(square(image, 100)).astype(float).std(axis=2) > 10).mean() < 0.2


@pytest.mark.parametrize("size", [(4000, 10), (3, 9), (1, 1), (64, 64)])
def test_odd_shapes_can_be_cut(size: tuple[int, int]) -> None:
    pytest.importorskip("smartcrop")
    for crop in ("center", "random", "smart"):
        assert square(Image.new("RGB", size), 16, crop).size == (16, 16)


def test_smart_crops_without_their_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "smartcrop", None)
    with pytest.raises(UsageError, match="--crop smart needs") as problem:
        load_images(fill(tmp_path, 4), 32, crop="smart")
    assert "atomtune[smart-crop]" in (problem.value.hint or "")


def test_unknown_crops_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no crop 'left'"):
        load_images(fill(tmp_path, 4), 32, crop="left")
