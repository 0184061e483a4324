"""Going on with the run of a classifier: what may change, and what must not."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..models.options import AUTO
from .options import RANDOM, ClassifyOptions

MAY_CHANGE = frozenset({"images", "weights", "device", "workers", "checkpoint_every", "tracker"})
"""Options that a resumed run may have others of: paths, at which the same must be found, and what changes no result."""


def changed_options(options: ClassifyOptions) -> frozenset[str]:
    """The fields of options that are not what they would be by default."""
    given = ("name", "images", "model", "method", "optimizer")
    was = ClassifyOptions(**{name: getattr(options, name) for name in given}).flat_dict()
    now = options.flat_dict()
    return frozenset(name for name in now if was[name] != now[name])


def same_run(stored: ClassifyOptions, asked: ClassifyOptions, output: Path) -> ClassifyOptions:
    """The options of a run that goes on because the same command was given again. Raises UsageError for another one."""
    asked = _with_stored_precision(asked, stored)
    if differences := _differences(stored, asked, frozenset(stored.flat_dict()) - MAY_CHANGE):
        raise UsageError(
            f"{output} already holds a run that did not end, with other options:\n" + "\n".join(differences),
            "--resume goes on with it, --overwrite starts again, --output names another folder",
        )
    return replace(stored, **{name: getattr(asked, name) for name in MAY_CHANGE})


def resumed(stored: ClassifyOptions, asked: ClassifyOptions, explicit: frozenset[str]) -> ClassifyOptions:
    """The options of a run that `--resume` goes on with: its own, but for `MAY_CHANGE`.

    Raises UsageError that lists every option given that differs.
    """
    asked = _with_stored_precision(asked, stored)
    if differences := _differences(stored, asked, explicit - MAY_CHANGE):
        raise UsageError(
            "the run cannot be resumed with other options:\n" + "\n".join(differences),
            "leave them out, or start again with --overwrite",
        )
    return replace(stored, **{name: getattr(asked, name) for name in explicit & MAY_CHANGE})


def _with_stored_precision(asked: ClassifyOptions, stored: ClassifyOptions) -> ClassifyOptions:
    return replace(asked, precision=stored.precision) if asked.precision == AUTO else asked


def _differences(stored: ClassifyOptions, asked: ClassifyOptions, names: frozenset[str]) -> list[str]:
    was, now = stored.flat_dict(), asked.flat_dict()
    return [
        f"{name} was {was[name]!r}, now {now[name]!r}"
        for name in sorted(names)
        if name in now and was[name] != now[name]
    ]


def places(output: Path, options: ClassifyOptions) -> dict[str, str]:
    """Where images and weights are, as seen from the run's folder, for run.json."""
    found = {"images": str(options.images)}
    if options.weights not in (None, RANDOM):
        found["weights"] = str(options.weights)
    home = output.resolve()
    try:
        return {name: os.path.relpath(Path(place).resolve(), home) for name, place in found.items()}
    except ValueError:  # on another drive of Windows
        return {}


def found_again(stored: ClassifyOptions, output: Path, record: Mapping[str, Any]) -> ClassifyOptions:
    """Options out of run.json, with relative paths as they are seen from the folder that is worked in now."""
    paths = record.get("paths")
    changed: dict[str, Any] = {}
    for name, place in paths.items() if isinstance(paths, Mapping) else ():
        if name not in ("images", "weights") or not isinstance(place, str):
            continue
        was, here = Path(str(getattr(stored, name))), output / place
        if here.exists() and not (was.exists() and was.samefile(here)):
            changed[name] = here.resolve() if name == "images" else str(here.resolve())
    return replace(stored, **changed)
