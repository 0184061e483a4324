"""Images that are nearly the same are found, and others are not, whatever they are decoded at."""

import io
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance

from atomtune.data.images import image_warnings, load_images
from atomtune.data.likeness import fingerprint, near
from atomtune.pocket.concept import concept_images, new_thing
from atomtune.pocket.world import SCENES, THINGS
from photo_files import Heard, noise

PHOTO = concept_images("castle", new_thing(0), ["in the jungle"], size=256)[0].image


def compressed(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=30)
    return Image.open(stream).convert("RGB")


CHANGES = {
    "scaled": lambda image: image.resize((100, 100)),
    "enlarged": lambda image: image.resize((700, 700)),
    "compressed": compressed,
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.05),
    "cut a little": lambda image: image.crop((3, 3, 253, 253)),
    "grey of its own": lambda image: image.convert("L").convert("RGB"),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_done_to_a_copy(name: str) -> None:
    found = near([fingerprint(PHOTO), fingerprint(CHANGES[name](PHOTO))])
    assert bool(found) == (name not in ("grey of its own", "mirrored"))


def test_other_images_are_not_alike() -> None:
    scenes = [scene for scene in SCENES if scene]
    images = [
        made.image
        for kind in ("castle", "dog", "teapot", "robot")
        for made in concept_images(kind, new_thing(0), scenes)
    ]
    assert len(images) == 4 * len(scenes) > 70
    assert near([fingerprint(image) for image in images]) == []
    colors = [Image.new("RGB", (40, 30), (60 * level, 90, 30)) for level in range(4)]
    assert near([fingerprint(image) for image in colors]) == []
    assert near([fingerprint(noise(64, 64, seed)) for seed in range(40)]) == []
    assert "castle" in THINGS


def test_they_are_pointed_out_and_the_same_ones_as_before(tmp_path: Path) -> None:
    for number, made in enumerate(concept_images("castle", new_thing(0), ["in the snow", "on the beach", ""])):
        made.image.save(tmp_path / f"{number}.png")
    PHOTO.save(tmp_path / "a.png")
    PHOTO.save(tmp_path / "b.bmp")
    PHOTO.resize((200, 200)).save(tmp_path / "c.jpg", quality=80)
    for thumbnail in (None, 100):
        heard = Heard()
        images = load_images(tmp_path, 64, thumbnail=thumbnail, events=heard)
        assert heard.warnings == image_warnings(images)
        assert heard.warnings == ["the same image 2 times: a.png, b.bmp", "nearly the same: a.png and c.jpg"]
