"""Text files as editors of all systems write them: with or without a byte order mark, any line ends, .txt or .TXT."""

import codecs
from collections.abc import Sequence
from pathlib import Path

_LONGEST = 8_000_000  # bytes; a file may be endless
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the start of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path) -> str:
    """The text of a file: UTF-8, or the Unicode encoding that its byte order mark says.

    Raises OSError where it cannot be read, ValueError (UnicodeDecodeError) where it is no such text or too long.
    """
    with path.open("rb") as stream:
        content = stream.read(_LONGEST + 1)
    if len(content) > _LONGEST:
        raise ValueError(f"it has over {_LONGEST:,} bytes")
    encoding = next((encoding for mark, encoding in _MARKS if content.startswith(mark)), "utf-8")
    return content.decode(encoding)


def read_lines(path: Path) -> list[str]:
    """The lines of a file; they may end as on any system, or as in Unicode. Raises as `read_text`."""
    return read_text(path).splitlines()


def text_beside(path: Path) -> Path | None:
    """The text file of an image, 01.txt for 01.jpg, in whatever case its ending is; None where there is none."""
    plain = path.with_suffix(".txt")
    if plain.is_file():
        return plain
    if not path.parent.is_dir():
        return None
    found = (other for other in path.parent.iterdir() if other.stem == path.stem and other.suffix.lower() == ".txt")
    return next((other for other in sorted(found) if other.is_file()), None)


def texts_beside(paths: Sequence[Path]) -> dict[Path, Path]:
    """The text file of each of some images that has one, as `text_beside` gives it; folders are listed once."""
    found: dict[tuple[Path, str], Path] = {}
    for folder in dict.fromkeys(path.parent for path in paths):
        if folder.is_dir():
            for other in sorted(folder.iterdir(), reverse=True):  # the first of several, and .txt before .TXT
                if other.suffix.lower() == ".txt" and other.is_file():
                    is_plain = (folder, other.stem) in found and found[folder, other.stem].suffix == ".txt"
                    found[folder, other.stem] = found[folder, other.stem] if is_plain else other
    return {path: found[path.parent, path.stem] for path in paths if (path.parent, path.stem) in found}


def problem_of(problem: Exception) -> str:
    """Why a text file cannot be read, for a message."""
    if isinstance(problem, UnicodeError):
        return "it is not UTF-8 text"
    return getattr(problem, "strerror", None) or str(problem)
