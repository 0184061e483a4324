"""The signals that ask a process to end."""

import signal


def termination_signals() -> list[signal.Signals]:
    """SIGTERM, and where the system has it SIGHUP, which a lost terminal sends; not SIGHUP where `nohup` ignores it."""
    hangup = getattr(signal, "SIGHUP", None)
    is_heard = hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN
    return [signal.SIGTERM, *([hangup] if hangup is not None and is_heard else [])]
