"""Events that stop a run."""

import os
import signal

from atomtune.runtime.progress import Events


class StopAfter(Events):
    """Sends this process a signal once some steps are taken."""

    def __init__(self, steps: int, number: int = signal.SIGINT) -> None:
        self.left, self.number, self.training = steps, number, False

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """See `Events.begin`."""
        self.training = what == "train"

    def advance(self, note: str = "") -> None:
        """See `Events.advance`."""
        if self.training:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), self.number)
