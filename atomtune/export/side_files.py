"""What lies beside a file: NAME.json and NAME.preview.png, from which A1111 and its relatives fill their cards."""

import json
from pathlib import Path

from .. import __version__
from ..errors import AtomtuneError, UsageError
from ..files.atomic import write_text
from ..files.png import is_png, read_png_texts, save_png
from ..files.untrusted_json import read_json
from ..models.architecture import architecture_of
from .job import Job
from .metadata import description, licence, usage

_OURS = "atomtune"
_SD_VERSIONS = {"stable-diffusion-v1": "SD1", "stable-diffusion-v2": "SD2", "stable-diffusion-xl-v1-base": "SDXL"}


def beside(output: Path) -> tuple[Path, Path]:
    """The card and the image of a file."""
    return output.with_suffix(".json"), output.with_suffix(".preview.png")


def check_beside(output: Path) -> None:
    """Raise UsageError where the place of one of them holds something that atomtune did not write."""
    for path in beside(output):
        if (path.exists() or path.is_symlink()) and not _is_ours(path):
            raise UsageError(
                f"{path} holds something that atomtune export did not write", "--output names another file"
            )


def write_beside(job: Job) -> list[Path]:
    """Write them; an image of an earlier export goes where none is wanted now."""
    card, image = beside(job.output)
    is_embedding = job.options.to == "embedding"
    words = [f"{job.output.stem} {job.loaded[0].info.class_noun}"] if is_embedding else job.triggers
    found = {
        "description": description(job),
        "sd version": _SD_VERSIONS.get(architecture_of(job.pipeline.unet), "Unknown"),
        "activation text": ", ".join(words),
        "preferred weight": 1.0,
        "notes": usage(job) + (f" Licence: {licence(job)}." if licence(job) else ""),
        "generator": f"{_OURS} {__version__}",
    }
    write_text(card, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    preview = job.preview()
    if preview is None:
        image.unlink(missing_ok=True)  # `check_beside` has seen that it is ours
        return [card]
    save_png(image, preview, {"generator": f"{_OURS} {__version__}"})
    return [card, image]


def _is_ours(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    try:
        if path.suffix == ".json":
            record = read_json(path)
            generator = record.get("generator", "") if isinstance(record, dict) else ""
        else:
            generator = read_png_texts(path)[2].get("generator", "") if is_png(path) else ""
    except (OSError, ValueError, AtomtuneError):
        return False
    return isinstance(generator, str) and generator.startswith(_OURS)
