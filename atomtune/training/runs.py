"""The runs below a folder (`atomtune concepts`), and a sheet of their images."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from ..data.contact_sheet import contact_sheet
from ..errors import AtomtuneError, excerpt
from ..files import store
from ..files.atoms_file import load_atoms
from ..files.output_folder import claim
from ..files.png import save_png
from ..runtime.options import flattened
from ..runtime.units import counted
from .options import TrainOptions
from .run_folder import RunFolder

THUMBNAIL = 192  # pixels, both sides
IMAGES = 4  # of each concept on a sheet

_MANY = 10**12  # more steps than can be

READY, UNFINISHED, DAMAGED = "ready", "unfinished", "damaged"


@dataclass(frozen=True)
class Learned:
    """One run.

    Attributes:
        name: of the run's folder; what --concept takes.
        status: "ready", "unfinished" (no atoms file yet) or "damaged".
        reason: why it is not ready; empty otherwise.
        bytes: of the atoms file, 0 without one.
        created: when the atoms were written, ISO 8601.

    What is not known is empty or 0.
    """

    name: str
    path: Path
    status: str
    reason: str = ""
    concept: str = ""
    class_noun: str = ""
    token: str = ""
    preset: str = ""
    base: str = ""
    steps: int = 0
    parameters: int = 0
    bytes: int = 0
    created: str = ""
    sha256: str = ""


def learned(runs: Path) -> list[Learned]:
    """Every run right below `runs`, by name; atoms files are checked as for use. Other folders are left out."""
    found = []
    for path in sorted(path for path in runs.iterdir() if path.is_dir()) if runs.is_dir() else []:
        folder = RunFolder(path)
        if folder.atoms.is_file():
            found.append(_finished(folder))
        elif folder.record.is_file() or folder.checkpoint.is_file():
            found.append(_unfinished(folder))
    return found


def _finished(folder: RunFolder) -> Learned:
    name, size = folder.path.name, folder.atoms.stat().st_size
    try:
        _, info, sha256 = load_atoms(folder.atoms)
    except AtomtuneError as problem:
        return Learned(name, folder.path, DAMAGED, problem.message, bytes=size)
    return Learned(
        name,
        folder.path,
        READY,
        concept=info.concept,
        class_noun=info.class_noun,
        token=info.token,
        preset=info.preset,
        base=info.base,
        steps=info.steps,
        parameters=info.parameters,
        bytes=size,
        created=info.created,
        sha256=sha256,
    )


def _unfinished(folder: RunFolder) -> Learned:
    try:
        options = flattened(TrainOptions, folder.read_record().get("options", {}))
        step = int(store.read_header(folder.checkpoint)["step"]) if folder.checkpoint.is_file() else 0
        concept = options["concept"]
        known = {"concept": concept["name"], "class_noun": concept["class_noun"], "token": concept["token"]}
        total = options["steps"]
        if not all(isinstance(word, str) for word in known.values()):
            raise ValueError("its concept is no text")
        if type(total) is not int or not 0 <= step < _MANY or not 0 <= total < _MANY:
            raise ValueError("its steps are no numbers of steps")
    except AtomtuneError as problem:
        return Learned(folder.path.name, folder.path, DAMAGED, problem.message)
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        return Learned(folder.path.name, folder.path, DAMAGED, f"{folder.record} is incomplete ({excerpt(problem)})")
    reason = f"saved at step {step} of {total}: train --resume goes on"
    base = excerpt(options.get("model") or "")
    return Learned(folder.path.name, folder.path, UNFINISHED, reason, **known, base=base, steps=step)


def thumbnail_sheet(runs: list[Learned], path: Path) -> Path:
    """Write a sheet with a row for each concept that is ready: its newest samples, or the previews of its training.

    Raises AtomtuneError where no concept is ready, or the sheet cannot be written.
    """
    ready = [run for run in runs if run.status == READY]
    if not ready:
        raise AtomtuneError("there is no concept to show", "atomtune train --concept NAME teaches one")
    rows = []
    for run in ready:
        images = list(_newest(run.path))
        rows.append(images or [Image.new("RGB", (THUMBNAIL, THUMBNAIL), (232, 232, 232))])
    labels = [f"{run.name}: {run.token} {run.class_noun}, {run.preset}, {counted(run.steps, 'step')}" for run in ready]
    claim(path.parent, [path.name])
    save_png(path, contact_sheet(rows, labels, least=THUMBNAIL))
    return path


def _newest(run: Path) -> Iterator[Image.Image]:
    """Thumbnails of the newest images of a run that can be read, newest first."""
    samples = [file for file in (run / "samples").glob("*.png") if _shows_concept(file)]
    previews = [file for file in RunFolder(run).previews.glob("step-*.png") if file.is_file()]
    candidates = sorted(samples, key=_age) or sorted(previews, key=_age)
    shown = 0
    for file in candidates:
        try:
            with Image.open(file) as opened:
                thumbnail = ImageOps.pad(opened.convert("RGB"), (THUMBNAIL, THUMBNAIL), color=(255, 255, 255))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
        yield thumbnail
        shown += 1
        if shown == IMAGES:
            return


def _shows_concept(file: Path) -> bool:
    # a pipe, or a link to nowhere, is no file
    return not file.name.startswith(("grid-", ".")) and not file.stem.endswith("-base") and file.is_file()


def _age(file: Path) -> tuple[Any, ...]:
    """Sorts the newest file first; of files as old as each other, the one of the higher number."""
    digits = "".join(character if character.isdigit() else " " for character in file.stem).split()
    return -file.stat().st_mtime_ns, [-int(digit) for digit in digits]
