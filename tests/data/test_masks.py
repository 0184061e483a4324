"""Masks: found, cut as their images are, laid on the latents' grid, and made."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from atomtune.data.foreground import foreground
from atomtune.data.images import load_images
from atomtune.data.masks import latent_weights, mask_file, overlaid
from atomtune.errors import AtomtuneError, UsageError
from atomtune.pocket.concept import concept_images, new_thing
from atomtune.pocket.world import THINGS

Cli = Callable[..., Any]


def photo(path: Path, size: tuple[int, int] = (90, 60), box: tuple[int, int, int, int] = (60, 10, 79, 49)) -> Path:
    """A red box on green, and its mask beside it."""
    image, mask = Image.new("RGB", size, (0, 160, 0)), Image.new("L", size, 0)
    ImageDraw.Draw(image).rectangle(box, (200, 0, 0))
    ImageDraw.Draw(mask).rectangle(box, 255)
    image.save(path)
    mask.save(path.with_suffix(".mask.png"))
    return path


def red(image: Image.Image) -> Any:
    return np.asarray(image)[..., 0] > 100


@pytest.mark.parametrize("crop", ["center", "random"])
def test_a_mask_is_cut_and_turned_as_its_image(crop: str, tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    photo(tmp_path / "b.png", (60, 90), (10, 30, 49, 59))
    turned = Image.open(tmp_path / "b.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "b.png", exif=exif)
    for image in load_images(tmp_path, 60, crop=crop, seed=4, masked=True):
        assert image.mask is not None
        assert image.mask.size == image.image.size == (60, 60)
        assert (red(image.image) == (np.asarray(image.mask) > 127)).mean() > 0.98
        assert image.mask_digest


def test_masks_are_not_read_where_they_are_not_asked_for(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    (tmp_path / "a.mask.png").write_bytes(b"broken")
    (image,) = load_images(tmp_path, 32)
    assert (image.mask, image.mask_digest) == (None, "")


def test_transparency_is_a_mask_and_a_file_counts_before_it(tmp_path: Path) -> None:
    whole = Image.open(photo(tmp_path / "a.png")).convert("RGBA")
    whole.putalpha(Image.open(tmp_path / "a.mask.png"))
    whole.save(tmp_path / "a.png")
    (with_file,) = load_images(tmp_path, 60, masked=True)
    (tmp_path / "a.mask.png").unlink()
    (with_alpha,) = load_images(tmp_path, 60, masked=True)
    assert with_file.mask is not None
    assert with_alpha.mask is not None
    assert with_file.mask.tobytes() == with_alpha.mask.tobytes()
    whole.putalpha(255)
    whole.save(tmp_path / "a.png")
    with pytest.raises(AtomtuneError, match=r"no image in .* has a mask"):
        load_images(tmp_path, 60, masked=True)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda mask: mask.write_bytes(b"no image"), r"a\.png \(not an image"),
        (lambda mask: Image.new("L", (60, 60), 255).save(mask), r"a\.mask\.png has the shape 60×60, a\.png 90×60"),
        (lambda mask: Image.new("L", (90, 60), 0).save(mask), r"the mask of a\.png is black everywhere"),
        (lambda mask: Image.new("L", (90, 60), 255).save(mask.with_suffix(".webp")), r"a\.png has 2 masks"),
    ],
)
def test_masks_that_cannot_be_are_named(spoil: Callable[[Path], Any], said: str, tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    spoil(tmp_path / "a.mask.png")
    with pytest.raises(AtomtuneError, match=said) as problem:
        load_images(tmp_path, 32, masked=True)
    assert problem.value.hint


def test_a_square_without_anything_of_the_mask_is_refused(tmp_path: Path) -> None:
    photo(tmp_path / "a.png", (300, 60), (0, 0, 9, 59))
    with pytest.raises(AtomtuneError, match=r"holds nothing of the mask: a\.png"):
        load_images(tmp_path, 32, masked=True)


def test_an_image_without_a_mask_beside_others_draws_a_warning(tmp_path: Path) -> None:
    from atomtune.runtime.progress import Events

    class Heard(Events):
        warnings: list[str] = []  # noqa: RUF012

        def warn(self, text: str) -> None:
            self.warnings.append(text)

    for name in "abcd":
        photo(tmp_path / f"{name}.png", box=(30, ord(name) - 90, 59, 49))
    (tmp_path / "c.mask.png").unlink()
    load_images(tmp_path, 32, masked=True, events=Heard())
    assert "without a mask, so all of it is learned: c.png" in Heard.warnings


def test_the_file_of_a_mask_is_that_of_the_whole_name(tmp_path: Path) -> None:
    for name in ("1.png", "11.png", "11.mask.png", "1.mask.txt.mask.png"):
        Image.new("L", (8, 8), 255).save(tmp_path / name)
    assert mask_file(tmp_path / "1.png") is None
    assert mask_file(tmp_path / "11.png") == tmp_path / "11.mask.png"


def test_weights_are_means_over_what_a_latent_stands_for() -> None:
    mask = Image.new("L", (32, 32), 0)
    mask.paste(255, (0, 0, 12, 8))
    weights = latent_weights([mask, None], 4, 4, 0.25)
    assert weights.shape == (2, 1, 4, 4)
    expected = torch.full((4, 4), 0.25)
    expected[0, 0], expected[0, 1] = 1.0, 0.5
    assert torch.equal(weights[0, 0], expected)
    assert torch.equal(weights[1], torch.ones(1, 4, 4))


def test_what_a_mask_leaves_out_is_dimmed_on_the_sheet() -> None:
    image, mask = Image.new("RGB", (2, 1), (0, 200, 0)), Image.new("L", (2, 1), 255)
    mask.putpixel((1, 0), 0)
    shown = overlaid(image, mask)
    assert shown.getpixel((0, 0)) == (0, 200, 0)
    assert shown.getpixel((1, 0)) != (0, 200, 0)
    assert overlaid(image, None) is image


@pytest.mark.parametrize(("scene", "least"), [("", 0.9), ("on a cobblestone street", 0.75)])
def test_masks_by_the_border_are_those_of_the_world(scene: str, least: float) -> None:
    shares = []
    for thing in THINGS:
        (rendered,) = concept_images(thing, new_thing(7), [scene], 1, 128)
        found, truth = np.asarray(foreground(rendered.image)) > 127, np.asarray(rendered.mask) > 127
        shares.append((found & truth).sum() / (found | truth).sum())
    assert np.mean(shares) > least


def test_masks_by_a_colour() -> None:
    image = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(image).ellipse((16, 16, 48, 48), "navy")
    ImageDraw.Draw(image).ellipse((28, 28, 36, 36), "white")  # a hole is part of the thing
    found = np.asarray(foreground(image, "color", "#fff")) > 127
    assert found[32, 32]
    assert found.mean() == pytest.approx(np.pi * 16**2 / 64**2, rel=0.1)
    for color in (None, "whitish"):
        with pytest.raises(UsageError, match="is not a colour"):
            foreground(image, "color", color)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rembg", None)
    with pytest.raises(UsageError, match="needs the package rembg") as problem:
        foreground(Image.new("RGB", (8, 8)), "rembg")
    assert "atomtune[masks]" in str(problem.value.hint)


def test_a_failing_rembg_is_one_line_and_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    def remove(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route\nto github.com")

    monkeypatch.setitem(sys.modules, "rembg", SimpleNamespace(remove=remove))
    with pytest.raises(AtomtuneError, match=r"rembg made no mask: no route to github\.com") as problem:
        foreground(Image.new("RGB", (8, 8)), "rembg")
    assert problem.value.hint


def test_mask_writes_beside_the_images_and_replaces_only_its_own(cli: Cli) -> None:
    folder = Path("concepts/box")
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        photo(folder / f"{name}.png")
        (folder / f"{name}.mask.png").unlink()
    answer = cli("mask", "--concept", "box")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[-1] == "runs/box/masks.png"
    assert (np.asarray(Image.open(folder / "a.mask.png")) > 127).mean() == pytest.approx(20 * 40 / 90 / 60, rel=0.1)
    again = cli("mask", "--concept", "box")
    assert (again.code, "is there already" in again.err) == (2, True)
    assert cli("mask", "--concept", "box", "--by", "color", "--color", "#00a000", "--overwrite").code == 0
    assert cli("prepare", "--concept", "box", "--masked", "--model", "pocket", "--resolution", "64").code == 0

    for words in (("--color", "white"), ("--by", "color")):
        assert "goes with --by color" in cli("mask", "--concept", "box", *words, "--overwrite").err
    (folder / "a.mask.png").rename(folder / "a.mask.webp")
    other = cli("mask", "--concept", "box", "--overwrite")
    assert (other.code, "a.mask.webp is a mask that atomtune did not make" in other.err) == (2, True)
    (folder / "a.mask.webp").rename(folder / "a.mask.png")

    photo(folder / "c.png")
    mine = (folder / "c.mask.png").read_bytes()
    refused = cli("mask", "--concept", "box", "--overwrite")
    assert (refused.code, "did not write" in refused.err) == (2, True)
    assert (folder / "c.mask.png").read_bytes() == mine
