"""Quantities in messages, tables and pages."""

import re
from pathlib import Path

import pytest

import atomtune
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


_COUNT = r"len\([^{}]*\)|[\w.|]*\|length"
_THINGS = (
    "images|steps|prompts|parameters|layers|concepts|files|runs|masks|captions|scales|names|folders|sources|tokens"
)
UNCOUNTED = re.compile(r"\{\s*(?:" + _COUNT + r")(?::,)?\s*\}\}? (?:more )?(?:" + _THINGS + r")\b")


def test_no_message_puts_a_number_before_a_plural_without_counting() -> None:
    assert UNCOUNTED.search('f"{len(paths)} images in"')
    assert UNCOUNTED.search("<b>{{ rows|length }} prompts")
    assert not UNCOUNTED.search("{counted(len(paths), 'image')} in runs")
    package = Path(atomtune.__file__).parent
    others = (package.parent / name for name in ("comfyui", "a1111"))
    files = [path for folder in (package, *others) for path in folder.rglob("*") if path.suffix in (".py", ".html")]
    found = [f"{path.name}: {line}" for path in files for line in UNCOUNTED.findall(path.read_text(encoding="utf-8"))]
    assert not found
