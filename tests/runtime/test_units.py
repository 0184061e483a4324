"""Quantities in messages, tables and pages."""

import pytest

from atomtune.runtime.units import counted, size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (312, "312 B"),
        (999, "999 B"),
        (999.7, "1.0 kB"),
        (1000, "1.0 kB"),
        (24_888, "24.9 kB"),
        (999_940, "999.9 kB"),
        (999_960, "1.0 MB"),
        (1_234_567, "1.2 MB"),
        (999_999_999, "1.0 GB"),
        (5.5e9, "5.5 GB"),
        (10**18, "1000000000.0 GB"),
    ],
)
def test_bytes_are_in_powers_of_a_thousand(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (1, "image", "1 image"),
        (0, "image", "0 images"),
        (1200, "step", "1,200 steps"),
        (2, "process", "2 processes"),
        (3, "copy", "3 copies"),
        (2, "day", "2 days"),
    ],
)
def test_one_thing_is_not_several(number: int, noun: str, text: str) -> None:
    assert counted(number, noun) == text
