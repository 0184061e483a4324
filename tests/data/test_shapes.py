"""Shapes of training images: sizes of about one area, and the one that is nearest to a photo."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from atomtune.data.crop import fitted, offset
from atomtune.data.shapes import nearest_shape, shapes


@given(st.sampled_from([(512, 64), (768, 64), (1024, 32), (64, 16), (32, 8), (520, 64)]))
def test_shapes_have_about_the_area_of_the_square_and_sides_that_the_model_halves(model: tuple[int, int]) -> None:
    side, multiple = model
    found = shapes(side, multiple)
    assert (side, side) in found
    assert len(found) == len(set(found)) > 2
    for width, height in set(found) - {(side, side)}:
        assert width % multiple == height % multiple == 0
        assert (height, width) in found
        assert width * height <= side * side < (width + multiple) * (height + multiple)
        assert max(width, height) <= 4 * min(width, height)


@pytest.mark.parametrize(
    ("photo", "shape"),
    [
        ((4000, 3000), (576, 448)),
        ((3000, 4000), (448, 576)),
        ((500, 501), (512, 512)),
        ((1920, 1080), (640, 384)),
        ((9000, 100), (1024, 256)),
    ],
)
def test_a_photo_gets_the_shape_that_cuts_least_off(photo: tuple[int, int], shape: tuple[int, int]) -> None:
    assert nearest_shape(photo, shapes(512, 64)) == shape


def test_the_offset_is_where_the_cut_is_taken() -> None:
    image = Image.new("RGB", (400, 200), "white")
    image.paste("black", (0, 0, 120, 200))
    cut = fitted(image, (100, 100), (0.25, 0.5))
    left, top = offset(image.size, cut.size, (0.25, 0.5))
    assert (left, top) == (25, 0)
    assert max(cut.getpixel((60 - left - 3, 50))) < 9
    assert min(cut.getpixel((60 - left + 3, 50))) > 246
    assert offset((300, 900), (100, 200), (0.5, 0.9)) == (0, 90)
