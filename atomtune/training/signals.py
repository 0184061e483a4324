"""Ctrl-C, SIGTERM and SIGHUP during a run: finish the step, save, then stop; a second signal stops at once."""

import signal
import threading
from types import FrameType, TracebackType

from ..errors import Terminated
from ..runtime.termination import termination_signals


class GracefulStop:
    """Within the context, `requested` turns true on the first of these signals; a second one raises right away."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, object] = {}

    @property
    def requested(self) -> bool:
        """True once a signal came."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """130 for SIGINT, 143 for SIGTERM and SIGHUP."""
        return 128 + (signal.SIGINT if self.signal in (None, signal.SIGINT) else signal.SIGTERM)

    def __enter__(self) -> "GracefulStop":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, *termination_signals()):
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, _kind: type[BaseException] | None, _value: object, _trace: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated
        self.signal = number
