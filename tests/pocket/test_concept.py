"""Images of new things: their scenes, sizes and masks, and the folder that holds them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atomtune.data.image_files import find_images
from atomtune.demo.concept_folder import write_concept
from atomtune.errors import UsageError
from atomtune.pocket.concept import TRAINING_SCENES, concept_images, new_thing
from atomtune.pocket.world import FIRST_HELD_OUT_SEED, SCENES, THINGS, Style, render, render_with_mask


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.int64)


def test_the_same_thing_is_seen_in_the_scenes_by_turns() -> None:
    shown = concept_images("dog", new_thing(7), ["in the snow", "on the beach"], count=5)
    assert [one.scene for one in shown] == ["in the snow", "on the beach", "in the snow", "on the beach", "in the snow"]
    truth = render("dog", Style(FIRST_HELD_OUT_SEED + 7), "in the snow", FIRST_HELD_OUT_SEED)
    assert np.array_equal(array(shown[0].image), array(truth))
    assert not np.array_equal(array(shown[0].image), array(shown[2].image)), "each from another point of view"
    assert [one.scene for one in concept_images("dog", new_thing(7))] == list(TRAINING_SCENES)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"class_name": "dragon"}, "no class 'dragon'"),
        ({"scenes": ["on the moon"]}, "no scene 'on the moon'"),
        ({"scenes": []}, "no scenes"),
        ({"size": 512}, "512 is no size"),
    ],
)
def test_what_the_world_lacks_is_refused(options: dict, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        concept_images(**{"class_name": "dog", "style": new_thing(0), **options})


@pytest.mark.parametrize("thing", sorted(THINGS))
def test_a_mask_is_where_another_thing_would_change_the_image(thing: str) -> None:
    """Two renders that differ in the thing's colours alone differ inside the mask alone."""
    style = Style(FIRST_HELD_OUT_SEED + 1)
    other = style.recolored("red" if style.main_name != "red" else "blue")
    image, mask = render_with_mask(thing, style, "in the snow", 3, 256)
    change = abs(array(image) - array(render(thing, other, "in the snow", 3, 256))).max(axis=2)
    assert mask.size == image.size
    assert mask.mode == "L"
    assert (change > 40).sum() > 500
    assert array(mask)[change > 40].min() > 0
    assert 0.05 < (array(mask) > 127).mean() < 0.7


def test_what_stands_in_front_of_the_thing_is_not_in_its_mask() -> None:
    for scene in (words for words, place in SCENES.items() if place.front is not None):
        image, mask = render_with_mask("backpack", Style(3), scene, 3, 256)
        other = render("backpack", Style(3).recolored("pink"), scene, 3, 256)
        change = abs(array(image) - array(other)).max(axis=2)
        assert change[array(mask) == 0].max(initial=0) <= 8, scene


def test_masks_stand_beside_the_images_and_are_no_images_of_the_concept(tmp_path: Path) -> None:
    folder = tmp_path / "rex"
    files = write_concept(folder, concept_images("dog", new_thing(7), count=3), masks=True)
    assert [file.image.name for file in files] == ["01.png", "02.png", "03.png"]
    assert [file.mask.name for file in files if file.mask] == ["01.mask.png", "02.mask.png", "03.mask.png"]
    assert find_images(folder) == ([file.image for file in files], [])
    with pytest.raises(UsageError, match="not empty"):
        write_concept(folder, concept_images("dog", new_thing(7)))
