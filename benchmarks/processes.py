"""What the benchmarks share: a folder to work in, processes that have to end well, tables, figures on disk.

Nothing here imports torch, for the reason that `measure` gives.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from .measure import Measured, machine, versions

ROOT = Path(__file__).parents[1]

Runner: TypeAlias = Callable[[Sequence[str], Path, Mapping[str, str]], Measured]
"""Starts a command in a folder with an environment, and measures it; `measure.measured` is one."""


class Failed(Exception):
    """A command did not end well, or there is no room for it."""


def module(name: str, *words: str) -> list[str]:
    """The command that runs a module of ours."""
    return [sys.executable, "-m", name, *words]


def checked(name: str, done: Measured) -> Measured:
    """What was measured. Raises Failed with the last lines of a command that failed."""
    if done.code != 0:
        last = "\n".join(done.err.splitlines()[-8:])
        raise Failed(f"{name} ended with {done.code} after {done.seconds:.0f} s:\n{last}")
    return done


def environment(work: Path) -> dict[str, str]:
    """For commands that work in this folder: our modules, no network, a cache of its own."""
    return {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "ATOMTUNE_CACHE": str(work / "cache")}


@contextmanager
def working(prefix: str, place: Path | None, needed: int, keep: bool) -> Iterator[Path]:
    """A new folder, below `place` if that is given, which is deleted afterwards unless `keep`.

    Raises Failed where fewer than `needed` bytes are free.
    """
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=prefix, dir=place)).resolve()
    try:
        free = shutil.disk_usage(work).free
        if free < needed:
            raise Failed(f"{work} needs {needed / 1e9:.0f} GB, {free / 1e9:.1f} GB are free there; see --work")
        yield work
    finally:
        if keep:
            print(f"kept: {work}", file=sys.stderr)
        else:
            shutil.rmtree(work)


def lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])


def setting() -> dict[str, dict[str, str]]:
    """Where something was measured, for the JSON of every benchmark."""
    return {"machine": machine(), "versions": versions()}


def setting_line(figures: Mapping[str, Any]) -> str:
    """The same in a line, from that JSON."""
    return ", ".join(f"{name} {value}" for part in ("machine", "versions") for name, value in figures[part].items())


def add_place(parser: argparse.ArgumentParser) -> None:
    """The options of a benchmark that works in a folder: --work, --keep, --json."""
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="where to work (default: the system's temporary files)"
    )
    parser.add_argument("--keep", action="store_true", help="leave what was made")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")


def write_figures(path: Path | None, figures: Mapping[str, Any]) -> None:
    """Write the figures as JSON, if there is a path."""
    if path is not None:
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
