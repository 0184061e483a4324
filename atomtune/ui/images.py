"""Generated images on the page: those of a job, base beside tuned, and the settings that each one carries."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import AtomtuneError
from ..files.describe import describe
from ..sampling.options import RUNS
from .jobs import Job
from .run_state import run_path
from .watch import newest_images

MOST = 24


def images_of_jobs(latest: Job | None, names: list[str]) -> list[Path]:
    """The images of the last job, base before tuned, then the newest ones of these concepts."""
    folder = folder_of(latest)
    own = _made_by(latest, folder) if latest is not None and folder is not None else []
    places = [run_path(name) / "samples" for name in names] or [RUNS / "samples"]
    others = [path for place in dict.fromkeys(places) if place.is_dir() for path in newest_images(place, MOST)]
    return list(dict.fromkeys([*own, *(path for path in others if not path.name.startswith("grid-"))]))[:MOST]


def folder_of(job: Job | None) -> Path | None:
    """Where a job writes its images; None for one that writes none, or names no folder below runs/."""
    words = [word for word in job.arguments if word.startswith("--output=")] if job is not None else []
    folder = Path(words[0].removeprefix("--output=")) if words else None
    return folder if folder is not None and folder.is_dir() and _is_inside(folder) else None


def sheets_of(job: Job | None) -> list[Path]:
    """The sheets that a job wrote, the newest first."""
    folder = folder_of(job)
    if job is None or folder is None:
        return []
    return [path for path in newest_images(folder) if path.name.startswith("grid-") and _is_since(path, job)]


def _made_by(job: Job, folder: Path) -> list[Path]:
    found = [path for path in newest_images(folder, 200) if _is_since(path, job) and not path.name.startswith("grid-")]
    settings = {path: settings_of(path) for path in found}
    return sorted(found, key=lambda path: (*_place(settings[path]), path.name))


def _place(facts: Mapping[str, Any]) -> tuple[int, bool, str]:
    """Where an image stands: by seed, the base model's first."""
    seed = facts.get("seed")
    return (seed if isinstance(seed, int) else 0, bool(facts.get("atoms")), str(facts.get("prompt", "")))


def _is_since(path: Path, job: Job) -> bool:
    return path.is_file() and path.stat().st_mtime >= job.created - 1


def _is_inside(path: Path) -> bool:
    return path.resolve().is_relative_to(RUNS.resolve())


def settings_of(path: Path) -> dict[str, Any]:
    """What an image says of how it was generated; empty where it says nothing."""
    try:
        stamp = path.stat()
        return _described(path, stamp.st_mtime_ns, stamp.st_size)
    except (AtomtuneError, OSError):
        return {}


@lru_cache(maxsize=2000)
def _described(path: Path, changed: int, length: int) -> dict[str, Any]:
    return describe(path)


def caption(path: Path) -> str:
    """What stands under an image."""
    facts = settings_of(path)
    if "seed" not in facts:
        return path.stem
    atoms = facts.get("atoms") or []
    of = ", ".join(f"{item.get('concept')} {item.get('scale'):g}" for item in atoms if _is_scaled(item))
    return f"{of or 'base model'}, seed {facts.get('seed', '?')}"


def _is_scaled(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("scale"), int | float)


def words_back(facts: Mapping[str, Any], triggers: Mapping[str, str]) -> str:
    """The prompt of an image with <name> in place of the words of its concepts, `triggers` by their names."""
    prompt = str(facts.get("prompt", ""))
    for name, words in triggers.items():
        prompt = prompt.replace(words, f"<{name}>")
    return prompt
