"""The prompt sets that come with atomtune."""

from importlib.resources import files
from pathlib import Path

from ..errors import UsageError


def prompt_set(name: str) -> Path:
    """The file of a prompt set. Raises UsageError where there is none of this name."""
    folder = Path(str(files("atomtune") / "prompts"))  # a link to prompts/ in a checkout, a folder in a wheel
    path = folder / name
    if not path.is_file():
        there = ", ".join(sorted(path.name for path in folder.glob("*.txt"))) or "none"
        raise UsageError(f"there is no prompt set {name}; those that are there: {there}", "--prompts FILE names a file")
    return path
