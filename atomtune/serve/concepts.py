"""Which concepts there are, by the names that requests give."""

from pathlib import Path

from ..data.concept import Concept
from ..errors import UsageError, excerpt


def concept_files(runs: Path) -> dict[str, Path]:
    """Atoms files by concept, in order: NAME/atoms.safetensors of runs, and NAME.safetensors beside them."""
    found = {path.stem: path for path in runs.glob("*.safetensors")}
    found |= {path.parent.name: path for path in runs.glob("*/atoms.safetensors")}
    return dict(sorted(found.items()))


def concept_file(runs: Path, name: str) -> Path:
    """The atoms file of one concept. Raises UsageError where there is none, or the name cannot be one's."""
    name = Concept(name).name  # its check leaves no way out of the folder
    for path in (runs / name / "atoms.safetensors", runs / f"{name}.safetensors"):
        if path.is_file():
            return path
    raise UsageError(f"there is no concept {excerpt(name)}", "GET /v1/concepts lists them")
