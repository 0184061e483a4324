"""The world of pocket: the same seeds give the same pictures, other seeds give other things."""

import numpy as np
import pytest
from PIL import Image

from atomtune.evaluation.encoders.grader import load_grader
from atomtune.pocket.world import FIRST_HELD_OUT_SEED, SCENES, THINGS, Style, caption, render


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, dtype=np.int64)


@pytest.mark.parametrize("thing", sorted(THINGS))
def test_an_instance_is_its_seed(thing: str) -> None:
    one = render(thing, Style(3), "in the snow", 5)
    assert one.size == (64, 64)
    assert np.array_equal(pixels(one), pixels(render(thing, Style(3), "in the snow", 5)))
    # the middle of the picture, where the thing stands, tells two instances and two views apart
    for other in (render(thing, Style(4), "in the snow", 5), render(thing, Style(3), "in the snow", 6)):
        assert abs(pixels(one) - pixels(other))[20:56, 16:48].mean() > 5


@pytest.mark.parametrize("scene", sorted(SCENES))
def test_a_scene_is_not_another(scene: str) -> None:
    shown = pixels(render("cup", Style(3), scene, 0))
    others = [pixels(render("cup", Style(3), name, 0)) for name in SCENES if name != scene]
    assert min(abs(shown - other).mean() for other in others) > 10


def test_paint_changes_the_colour_and_nothing_else() -> None:
    style = Style(11)
    red = style.recolored("red")
    assert red.main_name == "red"
    assert red.number("width") == style.number("width")
    assert red.pattern == style.pattern
    assert red.accent_name != "red"


def test_captions_read_well() -> None:
    assert caption("castle", "in the snow") == "a castle in the snow"
    assert caption("car", "on the beach", color="orange") == "an orange car on the beach"
    assert caption("castle", word="sks") == "a sks castle"


def test_the_grader_names_fresh_renders() -> None:
    """Well above what chance gives (1 in 14, 1 in 20); the figures proper are in the model card."""
    scenes = [scene for scene in SCENES if scene]
    shown = [(t, scenes[(i + 3 * j) % len(scenes)]) for i, t in enumerate(THINGS) for j in range(8)]
    pictures = [render(*(t, Style(FIRST_HELD_OUT_SEED + n), s), n) for n, (t, s) in enumerate(shown)]
    grader = load_grader()
    cells = [(t, s) for t in THINGS for s in scenes]
    named = [cells[i] for i in grader.classify(pictures, [caption(*cell) for cell in cells]).tolist()]
    assert sum(a[0] == b[0] for a, b in zip(shown, named, strict=True)) >= 0.85 * len(shown)
    assert sum(a[1] == b[1] for a, b in zip(shown, named, strict=True)) >= 0.95 * len(shown)
