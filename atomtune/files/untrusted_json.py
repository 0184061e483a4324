"""JSON from untrusted files: parsed only up to the length and depth of what atomtune writes."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LONGEST = 8_000_000
"""Characters or bytes of a text. Parsed, it takes up to 25 times as much memory."""

DEEPEST = 32
"""Nested lists and objects; far below Python's recursion limit."""


def parse_json(text: str) -> Any:
    """The value of a JSON text; infinite numbers are allowed, as Python writes them, and NaN is not.

    Raises ValueError where it is no JSON, too long, nested too deep, or holds text that is not valid Unicode.
    """
    if len(text) > LONGEST:
        raise ValueError(f"{len(text):,} characters are too many")
    try:
        value = json.loads(text, parse_constant=_constant)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    _check_depth(value)
    json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
    return value


def read_json(path: Path) -> Any:
    """The value of a JSON file in UTF-8. Raises OSError where it cannot be read, ValueError as `parse_json`."""
    with path.open("rb") as stream:
        content = stream.read(LONGEST + 1)  # a file may be endless
    return parse_json(content.decode("utf-8"))


def _constant(name: str) -> float:
    if name == "NaN":
        raise ValueError("it holds NaN")
    return float(name)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [part for part in level if isinstance(part, dict | list)]
        if not level:
            return
        level = [item for part in level for item in _items(part)]
    raise ValueError("it is nested too deep")


def _items(part: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return part.values() if isinstance(part, dict) else part
