"""Errors that are the user's to solve: one line that says what is wrong, one hint that says what to do."""


class AtomtuneError(Exception):
    """A failure at run time. Several lines in `message` are several errors, shown one below the other."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None, *, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code


class UsageError(AtomtuneError):
    """Wrong options or values: nothing was started."""

    exit_code = 2


class Interrupted(AtomtuneError):
    """Stopped by the user (Ctrl-C, 130) or the system (SIGTERM, 143), after what was done has been saved."""

    exit_code = 130


class Terminated(KeyboardInterrupt):
    """SIGTERM as an exception, so that it ends a run on the same path as Ctrl-C."""

    exit_code = 143
