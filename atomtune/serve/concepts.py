"""Which concepts there are, by the names that requests give."""

from pathlib import Path

from ..data.concept import Concept
from ..errors import UsageError, excerpt
from ..files.run_result import result_in


def concept_files(runs: Path) -> dict[str, Path]:
    """Atoms files by concept, in order: the results of runs, and NAME.safetensors beside them."""
    found = {path.stem: path for path in runs.glob("*.safetensors")}
    results = ((path.name, result_in(path)) for path in runs.glob("*/"))
    found |= {name: path for name, path in results if path.is_file()}
    return dict(sorted(found.items()))


def concept_file(runs: Path, name: str) -> Path:
    """The atoms file of one concept. Raises UsageError where there is none, or the name cannot be one's."""
    name = Concept(name).name  # its check leaves no way out of the folder
    for path in (result_in(runs / name), runs / f"{name}.safetensors"):
        if path.is_file():
            return path
    raise UsageError(f"there is no concept {excerpt(name)}", "GET /v1/concepts lists them")
