"""One option: what is said of it, how a text becomes its value, and what is wrong with a value."""

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from ..errors import did_you_mean, excerpt


class _Unset(Enum):
    UNSET = "derived"


KEY = "option"
"""Where a field's metadata holds what was declared."""

UNSET: Any = _Unset.UNSET
"""The default of a field that is derived from others."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What `option` was told about a field."""

    help: str
    name: str | None = None
    metavar: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    multiple_of: int | None = None
    choices: Collection[str] | Callable[[], Collection[str]] | None = None
    listed: Callable[[], Collection[str]] | None = None
    derived: Callable[[Any], Any] | None = None
    shown_default: str | None = None
    read: Callable[[Any], Any] | None = None
    each: Any = None
    further_of: str | None = None
    completes: Callable[[str], list[str]] | None = None
    panel: str | None = None
    essential: bool = False
    word: str | None = None
    aliases: tuple[str, ...] = ()
    formerly: tuple[str, ...] = ()
    unrecorded: Any = UNSET


def option(default: Any, help: str, **declared: Any) -> Any:
    """A field of a dataclass that is an option.

    Args:
        default: its value where nothing is said; `...` for an option that must be given.
        help: a sentence; without one, the field is for Python alone.
        name: in files, and with dashes on the command line; the field's own by default.
        metavar: what stands for the value in help.
        at_least, at_most, above, below, multiple_of: what a number must be.
        choices: what a text must be one of; a function that tells, where telling takes long.
        listed: gives the choices that help lists, where asking for all would take too long.
        derived: gives the default from the other fields of the object.
        shown_default: the default in words.
        read: makes the value of what the command line or a file says. Raises ValueError or UsageError.
        each: an options class with `from_text`, of which each of several values is an object.
        further_of: the field that holds the first of these objects; files have them all as tables of its name.
        completes: what may follow the beginning of a value, for shells.
        panel: of the help, where it is not the group's.
        essential: help shows it where there are too many options for a screen.
        word: "first" where the first word of a command line without an option's name gives it, "rest" for the others.
        aliases: names that other trainers have for it; formerly: names that it had here.
        unrecorded: what records mean that do not have it, as they were written before there was such an option.
    """
    metadata = {KEY: Declared(help=help, **declared)}
    if default is ...:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=UNSET if "derived" in declared else default, metadata=metadata)


def same_as(group: type[Any], field: str, **changes: Any) -> Any:
    """A field that is declared as one of another group, but for `changes`: its default, or what `option` takes."""
    known = group.__dataclass_fields__[field]
    default = changes.pop("default", known.default)
    declared = known.metadata[KEY]
    metadata = {
        KEY: dataclasses.replace(declared, **{"panel": declared.panel or getattr(group, "panel", None)} | changes)
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Option(Declared):
    """An option in its place.

    Attributes:
        path: the fields that lead to its value, as ("concept", "token").
        kind: bool, int, float, str or Path, of each value; many: there may be several; optional: there may be none.
        default: MISSING where a value must be given; None where it is derived.
        group: the class that it belongs to.
    """

    name: str
    path: tuple[str, ...]
    kind: type
    many: bool
    optional: bool
    default: Any
    group: type[Any]

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def is_required(self) -> bool:
        """Whether it must be given."""
        return self.default is MISSING

    @property
    def allowed(self) -> Collection[str]:
        """The choices; none where anything goes."""
        return (self.choices() if callable(self.choices) else self.choices) or ()

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        if self.choices is not None:
            return f"one of {', '.join(self.allowed)}"
        words = {bool: "true or false", int: "a whole number", float: "a number", Path: "a path"}.get(self.kind, "text")
        if self.multiple_of:
            return f"a multiple of {self.multiple_of}, {self.at_least or self.multiple_of} or more"
        if self.at_least is not None and self.at_most is not None:
            return f"{words} from {self.at_least:g} to {self.at_most:g}"
        bounds = {"of at least": self.at_least, "above": self.above, "of at most": self.at_most, "below": self.below}
        listed = " and ".join(f"{name} {bound:g}" for name, bound in bounds.items() if bound is not None)
        return f"{words} {listed}".strip()

    @property
    def default_text(self) -> str:
        """The default in words; empty where there is nothing to say."""
        if self.shown_default is not None:
            return self.shown_default
        if self.is_required or self.default is None or self.default is False or self.default in ((), ""):
            return ""
        return "on" if self.default is True else f"{self.default:g}" if self.kind is float else str(self.default)

    def parsed(self, text: str) -> Any:
        """A value of a text from the command line. Raises ValueError where it cannot be one."""
        if self.kind in (int, float) and self.read is None:
            return self.kind(text)
        plain = text.lower().replace("_", "-")  # as AdamW and constant_with_warmup
        return next((choice for choice in self.allowed if choice == plain), text)

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value, as "must be a number above 0, not -1"; None where nothing is."""
        if (value is None and self.optional) or (self.read is not None and not isinstance(value, str)):
            return None  # what is read has been checked by reading it
        listed = self.many and isinstance(value, list | tuple)
        for item in value if listed else [value]:
            if self.each is not None and isinstance(item, (self.each, Mapping)):
                continue  # checked by the object itself
            if not self._is_of_kind(item) or not self._is_in_range(item):
                expected = self.expected + (" or a list of them" if self.many and not listed else "")
                close = did_you_mean(item, self.allowed) if isinstance(item, str) else ""
                return f"must be {expected}, not {shown(item)}{close}"
            if "\0" in str(item):
                return "must be text without NUL characters"
        return None

    def _is_of_kind(self, value: Any) -> bool:
        if self.kind is bool or isinstance(value, bool):
            return self.kind is bool and isinstance(value, bool)
        if isinstance(value, int | float):
            fits = abs(value) < 2**63 if isinstance(value, int) else not math.isnan(value)
            return fits and (self.kind is float or (self.kind is int and isinstance(value, int)))
        return isinstance(value, (str, Path) if self.kind is Path else str) and self.kind in (str, Path)

    def _is_in_range(self, value: Any) -> bool:
        return (
            (self.choices is None or value in self.allowed)
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (self.multiple_of is None or value % self.multiple_of == 0)
        )


def shown(value: object) -> str:
    """A value in a message, as files write it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | Path):
        return f'"{excerpt(value)}"'
    if _is_short(value) or (isinstance(value, list | tuple) and all(map(_is_short, value))):
        return excerpt(value)
    return "a table or list" if isinstance(value, dict | list | tuple) else "a number that long"


def _is_short(value: object) -> bool:
    """Whether Python shows a value: not where it is nested too deep or a number has too many digits."""
    return not isinstance(value, dict | list | tuple) and not (isinstance(value, int) and abs(value) >= 2**63)
