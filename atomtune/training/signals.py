"""Ctrl-C and SIGTERM during a run: finish the step, save, then stop; a second one stops at once."""

import signal
import threading
from types import FrameType, TracebackType

from ..errors import Terminated


class GracefulStop:
    """Within the context, `requested` turns true on the first SIGINT or SIGTERM; a second one raises right away."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, object] = {}

    @property
    def requested(self) -> bool:
        """True once a signal came."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """130 for SIGINT, 143 for SIGTERM."""
        return 128 + (self.signal or signal.SIGINT)

    def __enter__(self) -> "GracefulStop":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, _kind: type[BaseException] | None, _value: object, _trace: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None:
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        self.signal = number
