"""CustomConcept101 (Kumari et al. 2023), on two of whose scenes the paper has its Tables 9 and 10.

Neither photos nor prompts are part of this project. The folder is that of customconcept101/ in
https://github.com/adobe-research/custom-diffusion, with its photos unpacked: dataset.json, prompts/ and
benchmark_dataset/NAME.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from atomtune.compare.options import Subject
from atomtune.data.concept import Concept
from atomtune.errors import AtomtuneError, UsageError, excerpt
from atomtune.files.untrusted_json import read_json

from .table2_subjects import has_images

LIST = "dataset.json"
SCENES = ("scene_castle", "scene_canal")
"""Those of the paper's Tables 9 and 10."""
ALL = "all"

_HINT = "DIR is customconcept101/ of adobe-research/custom-diffusion, with benchmark_dataset/ unpacked in it"


def custom_concepts(folder: Path, names: Sequence[str] = ()) -> tuple[Subject, ...]:
    """Concepts of the data set by the folders of their photos, `SCENES` without names; "all" stands for all of them.

    Raises UsageError for a folder without the list, a list that is none, or a name that is not in it; AtomtuneError
    that names every concept without photos or prompts.
    """
    found = _listed(folder)
    wanted = list(found) if list(names) == [ALL] else list(names) or list(SCENES)
    if unknown := [name for name in wanted if name not in found]:
        raise UsageError(f"{folder / LIST} has no concept {excerpt(unknown[0])}", f"it has {', '.join(sorted(found))}")
    missing = [name for name in wanted if not (has_images(found[name].images) and found[name].prompts.is_file())]
    if missing:
        raise AtomtuneError(
            f"{len(missing)} of {len(wanted)} concepts have no photos or no prompts: {', '.join(missing)}", _HINT
        )
    return tuple(found[name] for name in wanted)


def _listed(folder: Path) -> dict[str, Subject]:
    try:
        entries = read_json(folder / LIST)
        return dict(_entry(folder, entry) for entry in entries)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as problem:
        raise UsageError(f"cannot read {folder / LIST}: {excerpt(problem)}", _HINT) from None


def _entry(folder: Path, entry: dict[str, Any]) -> tuple[str, Subject]:
    """A line of the list as a subject; its paths are of the folder, whatever they say. Raises as reading a dict."""
    name, prompts = PurePosixPath(entry["instance_data_dir"]).name, PurePosixPath(entry["prompt_filename"]).name
    concept = Concept(name, entry["class_prompt"])
    return name, Subject(concept, folder / "benchmark_dataset" / name, folder / "prompts" / prompts)
