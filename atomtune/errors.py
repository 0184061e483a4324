"""Errors that are the user's to solve: one line that says what is wrong, one hint that says what to do."""

import difflib
import re
from collections.abc import Iterable

# control characters but tab and newline, line separators, marks that turn the order of letters, lone surrogates
_HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """A text as a terminal may have it: what would steer the terminal, or cannot be encoded, as \\u escapes."""
    return _HARMFUL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def is_one_line(text: str) -> bool:
    """Whether a text can stand in a message as it is, but for its length."""
    return printable(text) == text and not {"\n", "\t"} & set(text)


def excerpt(value: object, longest: int = 120) -> str:
    """What a file says, for a message: printable, on one line, cut after `longest` characters."""
    text = " ".join(str(value)[: 4 * longest].split())
    return printable(text if len(text) <= longest else text[: longest - 1] + "…")


def did_you_mean(word: str, known: Iterable[str], longest: int = 60) -> str:
    """ " (did you mean 'lora'?)" for a word that is nearly a known one; else nothing. A word over `longest` is none."""
    close = difflib.get_close_matches(word.lower(), list(known), n=1) if len(word) <= longest else []
    return f" (did you mean {close[0]!r}?)" if close else ""


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


class AtomtuneWarning(UserWarning):
    """Something the user should know, though the work goes on."""


class SkippedLayersWarning(AtomtuneWarning):
    """Layers of a model that cannot be adapted."""


def without_folders(text: str) -> str:
    """A text whose absolute paths are their last part alone."""
    return re.sub(r"(?<![\w./:\\])(?:[A-Za-z]:)?[/\\](?:[^\s/\\:'\"]+[/\\])+", "", text)
