"""Tables as CSV that a spreadsheet shows as it is."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

_FORMULA = ("=", "+", "-", "@", "\t", "\n")
"""What makes a spreadsheet take a text for a formula, or for the end of a cell."""


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """A header and the rows, of which each has the same keys; `columns` name them where there are no rows.

    What is None is left empty. A text that a spreadsheet would run as a formula gets an apostrophe in front, as those
    programs have it themselves; numbers stay numbers.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]) if rows else list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return stream.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = "\n".join(value.splitlines()) if "\r" in value else value  # a lone \r would end the row
    return f"'{text}" if text.startswith(_FORMULA) else text
