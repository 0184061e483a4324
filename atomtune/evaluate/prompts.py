"""The prompt sets that come with atomtune."""

from pathlib import Path

import atomtune

from ..errors import UsageError


def prompt_set(name: str) -> Path:
    """The file of a prompt set. Raises UsageError where atomtune was installed without them."""
    path = Path(atomtune.__file__).resolve().parents[1] / "prompts" / name
    if not path.is_file():
        raise UsageError(f"the prompt set {name} is not installed", "--prompts FILE names one; they lie in prompts/")
    return path
