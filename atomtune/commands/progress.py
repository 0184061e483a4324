"""Progress on stderr: a live bar on a terminal, now and then a line anywhere else."""

import sys
import time
from typing import TYPE_CHECKING, Any

from ..runtime.progress import Events

if TYPE_CHECKING:
    from .console import Console

EVERY = 10.0  # seconds between two lines where there is no terminal
_WORK = {
    "decompose": ("Decomposing", "layers"),
    "prior": ("Generating class images", "images"),
    "train": ("Training", "steps"),
    "sample": ("Sampling", "images"),
    "fleet": ("Learning", "concepts"),
    "evaluate": ("Generating", "images"),
    "caption": ("Describing", "images"),
    "classify": ("Classifying", "batches"),
    "explain": ("Explaining", "images"),
    "export": ("Approximating", "layers"),
}


class ConsoleEvents(Events):
    """Shows what long work tells on a console."""

    def __init__(self, console: "Console") -> None:
        self.console = console
        self.bar: _Bar | None = None

    def phase(self, text: str) -> None:
        self.console.info(text[:1].upper() + text[1:])

    def warn(self, text: str) -> None:
        self.console.warn(text)

    def begin(self, what: str, total: int, done: int = 0) -> None:
        self.end()
        if self.console.quiet or self.console.silent:
            return
        label, unit = _WORK.get(what, (what[:1].upper() + what[1:], "parts"))
        self.bar = (_LiveBar if sys.stderr.isatty() else _Lines)(label, unit, total, done)

    def advance(self, note: str = "") -> None:
        if self.bar is not None:
            self.bar.advance(note)

    def note(self, text: str) -> None:
        if self.bar is not None:
            self.bar.note(text)

    def end(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class _Bar:
    """Countable work, its speed and the time left."""

    def __init__(self, label: str, unit: str, total: int, done: int) -> None:
        self.label, self.unit, self.total, self.done = label, unit, total, done
        self.began, self.begun_at = time.monotonic(), done

    def advance(self, note: str) -> None:
        """Count one part as done and show it."""
        self.done += 1
        self.note(note)

    def note(self, text: str) -> None:
        """Show a text, and the pace."""
        self.show("  ".join(part for part in (text, self._pace()) if part))

    def _pace(self) -> str:
        """Speed and time left: `4.2 steps/s  1:05 left`."""
        elapsed = time.monotonic() - self.began
        if elapsed <= 0 or self.done == self.begun_at:
            return ""
        speed = (self.done - self.begun_at) / elapsed
        left = round((self.total - self.done) / speed)
        pace = f"{speed:.1f} {self.unit}/s" if speed >= 1 else f"{1 / speed:.1f} s/{self.unit.removesuffix('s')}"
        return f"{pace}  {left // 60}:{left % 60:02d} left"

    def show(self, status: str) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """The work is over, or was broken off."""


class _Lines(_Bar):
    """A line every ten seconds and one at the end, for logs and pipes."""

    last = 0.0

    def show(self, status: str) -> None:
        now = time.monotonic()
        if self.done < self.total and now - max(self.last, self.began) < EVERY:
            return
        self.last = now
        print(f"{self.label} {self.done}/{self.total} {self.unit}  {status}", file=sys.stderr, flush=True)


class _LiveBar(_Bar):
    """A bar that moves, for terminals."""

    def __init__(self, label: str, unit: str, total: int, done: int) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.table import Column

        super().__init__(label, unit, total, done)
        status = TextColumn("{task.fields[status]}", markup=False, table_column=Column(no_wrap=True))
        self.bars: Any = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            status,
            console=RichConsole(stderr=True),
        )
        self.task = self.bars.add_task(label, total=total, completed=done, status="")
        self.bars.start()

    def show(self, status: str) -> None:
        self.bars.update(self.task, completed=self.done, status=status)

    def close(self) -> None:
        self.bars.stop()
