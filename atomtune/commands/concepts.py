"""atomtune concepts: what has been learned so far."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..runtime.units import size
from .console import Console, table
from .shared import OUTPUT

if TYPE_CHECKING:
    from ..training.runs import Learned


def concepts(
    console: Console,
    sheet: Annotated[
        bool,
        typer.Option("--sheet", help="Write runs/concepts.png: images of each.", rich_help_panel=OUTPUT),
    ] = False,
) -> None:
    """List what has been learned: the runs in runs/, with damaged and unfinished ones and what is wrong with them."""
    from ..training.runs import READY, learned, thumbnail_sheet

    runs = Path("runs")
    found = learned(runs)
    written = thumbnail_sheet(found, runs / "concepts.png") if sheet else None
    data = {"concepts": [asdict(run) for run in found], "ready": sum(run.status == READY for run in found)}
    console.result({**data, "sheet": written}, _text(found, written))


def _text(found: "list[Learned]", sheet: Path | None) -> str:
    from ..training.runs import READY

    if not found:
        return "nothing learned yet in runs/; try: atomtune train --concept NAME"
    header = ["name", "class noun", "token", "preset", "base", "steps", "size", "date"]
    rows = [
        [run.name, run.class_noun, run.token, run.preset, run.base, f"{run.steps:,}", size(run.bytes), run.created[:10]]
        for run in found
        if run.status == READY
    ]
    parts = [table(header, rows)] if rows else []
    others = [f"{run.name}: {run.status}, {run.reason}" for run in found if run.status != READY]
    parts += ["\n".join(others)] if others else []
    parts += [str(sheet)] if sheet else []
    return "\n\n".join(parts)
