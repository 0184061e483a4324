"""Shapes of training images (aspect-ratio buckets): sizes of about the same area, so that little is cut off a photo."""

import math
from collections.abc import Sequence

Size = tuple[int, int]
"""Width and height in pixels."""

_WIDEST = 2  # times the side of the square, so that the aspect ratio is at most 4 to 1


def shapes(side: int, multiple: int) -> list[Size]:
    """The sizes that images are cut to: the square, and others of at most its area, as large as they can be.

    Args:
        side: of the square.
        multiple: of which the sides of the others are, see `architecture.size_multiple`.
    """
    found = {(side, side)}
    for width in range(multiple, _WIDEST * side + 1, multiple):
        height = side * side // width // multiple * multiple
        if height > 0 and max(width, height) <= min(_WIDEST * side, 4 * min(width, height)) and width != height:
            found |= {(width, height), (height, width)}
    return sorted(found)


def nearest_shape(size: Size, known: Sequence[Size]) -> Size:
    """The one of some shapes whose aspect ratio is nearest to that of an image; of two, the larger one."""
    aspect = math.log(size[0] / size[1])

    def distance(shape: Size) -> tuple[float, int]:
        return round(abs(math.log(shape[0] / shape[1]) - aspect), 9), -shape[0] * shape[1]

    return min(known, key=distance)
