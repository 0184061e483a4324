"""fleet.json, fleet.csv and fleet.html: a row for each concept."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields

from .. import __version__
from ..errors import AtomtuneError, UsageError, excerpt
from ..files.untrusted_json import parse_json
from ..report.csv_text import csv_text
from ..report.html import render_page
from ..runtime.progress import Events
from .options import DONE, FAILED, STOPPED, TRAINING, WAITING, FleetRow
from .place import Place

FILES = ("fleet.json", "fleet.csv", "fleet.html")

_MOST_SHOWN = 2000  # rows on the page
_APART = 2.0  # seconds between two times that a table is written
_SHARE = 20  # of the time may go into it, as 1 / this: a million rows take seconds


class Table:
    """The rows of a fleet that is learned, and where they are written.

    Attributes:
        counts: how many rows are in each state.
    """

    def __init__(self, place: Place, rows: Sequence[FleetRow], events: Events) -> None:
        self.counts = Counter(row.state for row in rows)
        self._place, self._events = place, events
        self._rows = {row.name: row for row in rows}
        self._changed, self._told = True, False
        self._next = 0.0
        self.write()

    @property
    def rows(self) -> list[FleetRow]:
        """In the order of the concepts."""
        return list(self._rows.values())

    def __getitem__(self, name: str) -> FleetRow:
        return self._rows[name]

    def put(self, row: FleetRow) -> None:
        """Replace a concept's row."""
        was = self._rows[row.name]
        self.counts[was.state] -= 1
        self.counts[row.state] += 1
        self._rows[row.name] = row
        self._changed = self._changed or row != was

    def write(self) -> None:
        """Write the three files. Raises AtomtuneError or OSError where they cannot be written."""
        began = time.monotonic()
        write_table(self._place, self.rows)
        now = time.monotonic()
        self._next, self._changed = now + max(_APART, _SHARE * (now - began)), False

    def write_when_due(self) -> None:
        """Write the files if rows changed and some time is over. What cannot be written now is a warning, once."""
        if not self._changed or time.monotonic() < self._next:
            return
        try:
            self.write()
        except (AtomtuneError, OSError) as problem:
            self._next = time.monotonic() + _SHARE
            if not self._told:
                self._events.warn(f"the table cannot be written now: {excerpt(problem)}")
                self._told = True


def write_table(place: Place, rows: Sequence[FleetRow]) -> None:
    """Write the three files. Raises AtomtuneError where they cannot be written."""
    data = [row.to_dict() for row in rows]
    place.write("fleet.csv", csv_text(data, [one.name for one in fields(FleetRow)]).encode())
    place.write("fleet.html", _page(rows).encode())
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


def _page(rows: Sequence[FleetRow]) -> str:
    # the sort is stable, so that others stay in their order
    failed_first = sorted(rows, key=lambda row: row.state not in (FAILED, STOPPED))
    shown = failed_first[:_MOST_SHOWN] if len(rows) > _MOST_SHOWN else rows
    left_out = len(rows) - len(shown)
    return render_page("fleet.html", rows=shown, counts=counts(rows), left_out=left_out, version=__version__)
