"""atomtune concepts: what has been learned so far."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.option import option
from ..runtime.options import Options
from ..runtime.units import size
from ..sampling.options import RUNS
from .console import Console, table

if TYPE_CHECKING:
    from ..training.runs import Learned


@dataclass(frozen=True, kw_only=True)
class ConceptsOutput(Options, panel="Output"):
    """What is written beside the list."""

    sheet: bool = option(False, "Write runs/concepts.png: images of each.")


def concepts(console: Console, place: ConceptsOutput) -> None:
    """List what has been learned: the runs in runs/, with damaged and unfinished ones and what is wrong with them.

    Examples:
        atomtune concepts
        atomtune concepts --sheet
    """
    from ..training.runs import READY, learned, thumbnail_sheet

    found = learned(RUNS)
    written = thumbnail_sheet(found, RUNS / "concepts.png") if place.sheet else None
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
