"""fleet.json, fleet.csv and fleet.html: a row for each concept."""

import html
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from ..errors import AtomtuneError, UsageError, excerpt
from ..files.untrusted_json import parse_json
from ..report.csv_text import csv_text
from .options import DONE, FAILED, STOPPED, TRAINING, WAITING, FleetRow
from .place import Place

FILES = ("fleet.json", "fleet.csv", "fleet.html")

_STYLE = "body{font:14px sans-serif;margin:2em}td,th{padding:.2em .8em;text-align:left}.failed{color:#b00}"
_SHOWN = ("name", "state", "steps", "total_seconds", "final_loss", "parameters", "bytes", "error")


def write_table(place: Place, rows: Sequence[FleetRow]) -> None:
    """Write the three files. Raises AtomtuneError where they cannot be written."""
    data = [row.to_dict() for row in rows]
    place.write("fleet.csv", csv_text(data, [one.name for one in fields(FleetRow)]).encode())
    place.write("fleet.html", _page(data).encode())
    place.write("fleet.json", (json.dumps({"rows": data}, indent=2) + "\n").encode())


def read_table(place: Place) -> list[FleetRow]:
    """The rows of fleet.json. Raises UsageError where there is none, AtomtuneError where it is damaged."""
    content = place.read("fleet.json")
    if content is None:
        raise UsageError(f"there is no fleet in {place.address}", "atomtune fleet train starts one")
    try:
        return [FleetRow(**row) for row in parse_json(content.decode())["rows"]]
    except (ValueError, LookupError, TypeError) as problem:
        raise AtomtuneError(
            f"fleet.json is damaged ({excerpt(problem)})", "atomtune fleet train writes it anew"
        ) from None


def counts(rows: Sequence[FleetRow]) -> dict[str, int]:
    """How many concepts are in each state."""
    found = Counter(row.state for row in rows)
    return {state: found[state] for state in (DONE, TRAINING, WAITING, FAILED, STOPPED)}


def _page(rows: Sequence[dict[str, Any]]) -> str:
    head = "".join(f"<th>{name.replace('_', ' ')}" for name in _SHOWN)
    lines = []
    for row in rows:
        cells = ["" if row[name] is None else row[name] for name in _SHOWN]
        shown = [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells]
        lines.append(f"<tr class={row['state']}>" + "".join(f"<td>{html.escape(cell)}" for cell in shown))
    body = "\n".join(lines)
    start = f"<!doctype html><meta charset=utf-8><title>fleet</title><style>{_STYLE}</style>"
    return f"{start}<table><tr>{head}\n{body}</table>\n"
