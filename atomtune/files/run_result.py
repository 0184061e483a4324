"""Where a run's result is: NAME.safetensors in its folder, after the concept, so that all have names of their own."""

from pathlib import Path

from .manifest import Manifest
from .untrusted_json import read_json

FORMER_NAME = "atoms.safetensors"
"""What every result was called up to version 0.1."""

RECORD = "run.json"
CHECKPOINT = "checkpoint.safetensors"
"""A run's own record, and its state to resume from."""


def result_name(concept: str) -> str:
    """The name of the file with what was learned of a concept: mug.safetensors."""
    name = f"{concept}.safetensors"
    return FORMER_NAME if name.lower() == CHECKPOINT else name


def result_in(folder: Path, concept: str | None = None) -> Path:
    """The result of the run in a folder, whether it is there already or not.

    A run that was begun under the former name keeps it.

    Args:
        concept: its name; None for the one that run.json tells, or the folder's own name where it tells none.
    """
    named, former = result_name(concept or _recorded(folder) or folder.absolute().name), folder / FORMER_NAME
    if not folder.is_dir():
        return folder / named
    ours = [name for name in Manifest(folder).names if "/" not in name and name.endswith(".safetensors")]
    ours = [name for name in ours if name != CHECKPOINT]
    for name in (named, FORMER_NAME):
        if name in ours:
            return folder / name
    if concept is None and len(ours) == 1:  # run.json is damaged, and the folder has another name
        return folder / ours[0]
    return former if former.is_file() else folder / named


def _recorded(folder: Path) -> str | None:
    """The concept of a run's record, where it is the name of a file here and no path to elsewhere."""
    try:
        name = read_json(folder / RECORD)["options"]["concept"]["name"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return name if isinstance(name, str) and name and Path(name).name == name and name.isprintable() else None
