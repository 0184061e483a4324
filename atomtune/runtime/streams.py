"""Standard streams that outlive their terminal: what cannot be shown never ends the work."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class LastingStream:
    """A text stream whose failures are dropped: after the first one, what is written to it goes nowhere.

    A terminal that is gone (a lost connection, a killed `tee`) fails, and so does a log on a full disk.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """See `TextIO.write`."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError):  # a ValueError where the stream is closed
            self._give_up()
            return len(text)

    def flush(self) -> None:
        """See `TextIO.flush`."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._give_up()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self) -> None:
        # what is still buffered would fail again, at the latest when Python exits
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Within the context stderr never fails, and letters that an output's encoding lacks are written as escapes.

    stdout still fails where it cannot be written, as it is the result's. A stream that was closed before the program
    began is opened to nowhere, so that no file that is opened later takes its number.
    """
    _open_closed()
    before = sys.stdout, sys.stderr
    for stream in before:
        if callable(reconfigure := getattr(stream, "reconfigure", None)):
            reconfigure(errors="backslashreplace")
    sys.stderr = LastingStream(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def can_show(text: str, stream: TextIO) -> bool:
    """Whether a stream's encoding has every letter of a text."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _open_closed() -> None:
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
    # Python has None for a stream that was closed when it began
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
