"""What the user sees: results on stdout, everything else on stderr."""

import json
import math
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import AtomtuneError, UsageError, printable
from ..runtime.launcher import process_index
from ..runtime.streams import can_show
from .progress import ConsoleEvents


class Console:
    """One per run. `quiet` leaves results, warnings and errors; `verbose` adds library messages and tracebacks."""

    def __init__(self) -> None:
        self.quiet = False
        self.verbose = False
        self.json = False
        # Under `accelerate launch` every process runs the command; only the first one talks.
        self.silent = process_index() != 0
        self.events = ConsoleEvents(self)

    def info(self, text: str) -> None:
        """Say what goes on."""
        if not self.quiet:
            self._say(text)

    def warn(self, text: str) -> None:
        """Say what is probably not meant."""
        self._say(f"Warning: {text}")

    def error(self, problem: AtomtuneError) -> None:
        """Say what went wrong, an `Error:` line for each line of the message, and what to do about it in one line.

        Every process says what it alone may have met; wrong usage is the same for all.
        """
        if self.silent and isinstance(problem, UsageError):
            return
        lines = [f"Error: {line}" for line in printable(problem.message).splitlines()]
        if problem.hint:
            lines.append(f"Hint: {' '.join(printable(problem.hint).splitlines())}")
        print("\n".join(lines), file=sys.stderr, flush=True)

    def result(self, data: Mapping[str, Any], text: str) -> None:
        """Print the result: `data` as one JSON object with --json, else `text`.

        Either may hold what a file says. In JSON, what `printable` escapes means the same as before.
        """
        if self.silent:
            return
        shown = text
        if self.json:
            shown = json.dumps(_plain(data), indent=2, ensure_ascii=False, allow_nan=False)
            if not can_show(shown, sys.stdout):
                shown = json.dumps(_plain(data), indent=2, allow_nan=False)
        try:
            print(printable(shown), flush=True)
        except BrokenPipeError:  # `| head` has seen enough; the work is done, so this is no failure
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def hush_libraries(self) -> None:
        """Keep the libraries' bars and warnings off stderr, unless --verbose asks for them.

        Call before torch, diffusers and transformers are imported: they read these variables then.
        """
        if self.verbose:
            return
        warnings.simplefilter("ignore")
        for name, value in _HUSH.items():
            os.environ.setdefault(name, value)

    def _say(self, text: str) -> None:
        if not self.silent:
            print(printable(text), file=sys.stderr, flush=True)


_HUSH = {
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


def _plain(value: object) -> object:
    """Turn what JSON does not know into what it knows: paths above all into text, infinite numbers into null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return value.as_posix() if isinstance(value, Path) else str(value)


def table(header: list[str], rows: list[list[str]]) -> str:
    """Lay rows out in columns: the first to the left, the others to the right, two spaces between them."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = []
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def fields(pairs: Mapping[str, str]) -> str:
    """Lay names and values out, one pair a line, values aligned."""
    width = max(map(len, pairs), default=0)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in pairs.items())


def duration(seconds: float) -> str:
    """Format a time: 0.4 s, 28 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
