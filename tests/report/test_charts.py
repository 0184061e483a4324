"""Axes and labels of charts."""

import re
from collections.abc import Sequence

import pytest

from atomtune.report.charts import Point, line_chart, round_numbers, scatter_chart


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([50, 100, 150], [50, 75, 100, 125, 150]),
        ([10, 20, 30, 40], [10, 20, 30, 40]),
        ([0.0, 0.438, 0.36], [0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        ([7], [7, 7.2, 7.4, 7.6, 7.8]),
        ([], [0, 0.2, 0.4, 0.6, 0.8, 1]),
    ],
)
def test_axes_are_marked_at_round_numbers(values: Sequence[float], shown: list[float]) -> None:
    assert round_numbers(values) == shown


def test_an_axis_goes_below_zero_only_where_a_value_does() -> None:
    assert round_numbers([0.0001, 0.4])[0] == 0
    assert round_numbers([-0.1, 0.4])[0] < 0


@pytest.mark.parametrize("values", [[0.0, 1e-12], [1e300, -1e300], [float("nan"), 1.0], [3.0, 3.0], [-5.0, -5.0]])
def test_all_finite_values_lie_between_the_marks(values: list[float]) -> None:
    marks = round_numbers(values)
    assert 2 <= len(marks) <= 8
    assert all(marks[0] <= value + 1e-9 and value - 1e-9 <= marks[-1] for value in values if value == value)


def boxes(chart: str) -> list[tuple[float, float, float]]:
    """Left end, base line and right end, about, of the names of points."""
    found = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="start"[^>]*>(step \d+)<', chart)
    return [(float(x), float(y), float(x) + 5.8 * len(text)) for x, y, text in found]


def test_names_of_near_points_do_not_collide() -> None:
    points = [Point(0.30 + 0.002 * i, 0.5 + 0.001 * i, f"step {i}") for i in range(3)] + [Point(0.9, 0.9, "step 9")]
    named = boxes(scatter_chart(points, "fidelity", "diversity"))
    assert len(named) == 4
    for i, (left, y, right) in enumerate(named):
        for other_left, other_y, other_right in named[i + 1 :]:
            assert abs(y - other_y) >= 9 or right <= other_left or other_right <= left


def test_near_levels_have_their_names_on_two_sides() -> None:
    chart = line_chart([Point(1, 0.1), Point(2, 0.9)], "steps", "y", [("base model", 0.5), ("real images", 0.51)])
    first, second = (
        float(re.search(rf'y="([\d.]+)"[^>]*>{name}<', chart)[1]) for name in ("base model", "real images")
    )  # type: ignore[index]
    assert abs(first - second) > 10
