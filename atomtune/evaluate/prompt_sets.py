"""The prompt sets that come with atomtune."""

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import atomtune

from ..errors import UsageError


def prompt_set(name: str) -> Path:
    """The file of a prompt set, in the checkout or where it was installed. Raises UsageError where it is not."""
    path = next((path for path in _places(name) if path.is_file()), None)
    if path is None:
        raise UsageError(f"the prompt set {name} is not installed", "--prompts FILE names one; they lie in prompts/")
    return path


def _places(name: str) -> Iterator[Path]:
    beside = Path(atomtune.__file__).resolve().parents[1]
    yield beside / "prompts" / name
    try:
        installed = metadata.files("atomtune") or []
    except metadata.PackageNotFoundError:  # run from a copy of the sources
        installed = []
    # the environment, the user's own folder or another prefix: the installer's list knows where a wheel's data went
    for file in installed:
        if file.parts[-3:] == ("atomtune", "prompts", name):
            yield Path(str(file.locate())).resolve()
    # `pip install --target` moves the data and leaves the list as it was
    yield beside / "share" / "atomtune" / "prompts" / name
