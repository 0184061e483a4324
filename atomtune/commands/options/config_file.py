"""Options from a file: TOML that somebody wrote, or the run.json of a run. The command line wins over both."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UsageError, did_you_mean, excerpt
from ...files.untrusted_json import parse_json
from ...runtime.option import UNSET, Option
from ...runtime.options import OptionError, group_name, options_of
from .other_trainers import INSTEAD, instead

EXAMPLE = "a key is an option without its dashes, as in: steps = 500"

_LONGEST = 64_000  # bytes of a TOML file
_LONGEST_RECORD = 8_000_000  # and of a run.json, which lists the images
_MOST_DOTS = 1_000  # in a line; what a parser of TOML needs grows with the square of the parts of a dotted key
_MOST_PROBLEMS = 20

Values = dict[tuple[str, ...], Any]
"""Values by the paths of their options."""


@dataclass(frozen=True)
class Config:
    """What a file says.

    Attributes:
        is_record: the file is a run's own record.
    """

    path: Path
    values: Values
    is_record: bool


def read_config(path: Path, options: Sequence[Option]) -> Config:
    """Read a file for a command with these options.

    Raises UsageError that lists every error at once, or the first of very many.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_LONGEST_RECORD + 1)  # a file may be endless
        is_record = content.lstrip().startswith(b"{")
        written_values = _record(content) if is_record else _toml(content)
    except OSError as problem:
        raise UsageError(
            f"cannot read {path}: {problem.strerror}", "--config takes a TOML file, or the run.json of a run"
        ) from None
    except RecursionError:
        raise UsageError(f"{path} is not valid TOML: it is nested too deep", EXAMPLE) from None
    except ValueError as problem:  # of the text, of TOML or JSON, or of a number with too many digits
        kind = "a run's record" if path.suffix == ".json" else "valid TOML"
        raise UsageError(f"{path} is not {kind}: {excerpt(problem)}", EXAMPLE) from None
    reading = _Reading(options, is_record)
    for wrong in reading.read(written_values):
        reading.problems.append(f"{path}: {wrong}")
        if len(reading.problems) == _MOST_PROBLEMS:
            break
    if reading.problems:
        known = ", ".join(sorted(option.name for option in options))
        raise UsageError("\n".join(reading.problems), f"the keys are {known}")
    for option in options if is_record else ():
        # a record of a time when there was no such option
        if option.unrecorded is not UNSET and option.name not in reading.empty:
            reading.values.setdefault(option.path, option.unrecorded)
    return Config(path, reading.values, is_record)


def read_values(path: Path, written: Mapping[str, Any], options: Sequence[Option]) -> Values:
    """The values of options in a table of a file, each as its option reads it. Raises UsageError that lists all."""
    reading = _Reading(options, False)
    problems = [*reading.read(written), *reading.problems]
    problems += [f"'{name}' {text}" for name, text in make_objects(options, reading.values)]
    if problems:
        known = ", ".join(sorted(option.name for option in options))
        raise UsageError("\n".join(f"{path}: {wrong}" for wrong in problems[:_MOST_PROBLEMS]), f"the keys are {known}")
    return reading.values


def make_objects(options: Iterable[Option], values: Values) -> Iterator[tuple[str, str]]:
    """Put the objects that options `read`, or are `each` of, in the place of texts and tables.

    Yields the names of options and what is wrong with their values; tables that are wrong are taken out.
    """
    for option in options:
        if option.path not in values or (option.read is None and option.each is None):
            continue
        try:
            if option.read is not None:
                values[option.path] = option.read(values[option.path])
            else:
                values[option.path] = tuple(_object(option.each, one) for one in values.pop(option.path))
        except OptionError as problem:
            yield from ((option.name, " ".join(filter(None, (name, text)))) for name, text in problem.problems)
        except ValueError as problem:
            yield option.name, str(problem)


def _object(kind: type[Any], value: Any) -> Any:
    """An object of a text, or of a table of a file. Raises OptionError, and UsageError of what it holds."""
    if not isinstance(value, Mapping):
        return kind.from_text(value) if isinstance(value, str) else value
    options = options_of(kind)
    reading = _Reading(options, is_record=False)
    problems = [("", wrong) for wrong in (*reading.read(value), *reading.problems)]
    problems += [(one.name, "is required") for one in options if one.is_required and one.path not in reading.values]
    if problems:
        raise OptionError(problems)
    return kind.from_values(reading.values)


class _Reading:
    """Finds the options that keys mean, in groups or without, and checks their values."""

    def __init__(self, options: Sequence[Option], is_record: bool) -> None:
        self.options = options
        self.is_record = is_record
        self.values: Values = {}
        self.problems: list[str] = []
        self.empty: set[str] = set()
        """Keys without a value, as a record has what was not given."""
        self.groups = {group_name(option.group) for option in options} - {""}
        self.objects = {option.path[0] for option in options if len(option.path) > 1}
        self.further = {option.further_of: option for option in options if option.further_of is not None}

    def read(self, written_values: Mapping[str, Any], *within: str) -> Iterator[str]:
        """Take values over; yields what is wrong with others.

        Args:
            within: the keys that lead to `written_values`: a group, and what holds an object.
        """
        for written, value in written_values.items():
            key = written.replace("-", "_")
            if isinstance(value, list) and key in self.further and not set(within) & self.objects:
                yield from self._tables(key, value, within)
            elif isinstance(value, dict) and key in self.objects and not set(within) & self.objects:
                yield from self.read(value, *within, key)
            elif isinstance(value, dict) and not within and (key in self.groups or self.is_record):
                yield from self.read(value, key)
            elif value is None:
                self.empty.add(key)
            else:
                yield from self._take(written, key, value, within)

    def _tables(self, key: str, tables: list[Any], within: Sequence[str]) -> Iterator[str]:
        """Take the tables of one name, [[concept]]: the first one's keys are options, the others objects."""
        option = self.further[key]
        if not tables or not all(isinstance(table, dict) for table in tables):
            yield f"'{key}' must be a table or several, as in [[{key}]]"
            return
        if option.path in self.values:
            yield f"'{option.name}' is given twice"
            return
        first, *others = tables
        beside = {name for one in options_of(option.each) if len(one.path) == 1 for name in _names(one)}
        yield from self.read({name: value for name, value in first.items() if name in beside}, *within)
        yield from self.read({name: value for name, value in first.items() if name not in beside}, *within, key)
        self.values[option.path] = tuple(others)

    def _take(self, written: str, key: str, value: Any, within: Sequence[str]) -> Iterator[str]:
        shown = ".".join([*within, excerpt(written, 40)])
        option = next((one for one in self.options if key in _names(one) and self._is_within(one, within)), None)
        if option is None:
            if not self.is_record and key in INSTEAD:
                yield f"there is no key '{shown}': {instead(key)}"
            elif not self.is_record:
                yield f"unknown key '{shown}'{did_you_mean(key[:40], [one.name for one in self.options])}"
        elif option.path in self.values:
            yield f"'{shown}' is given twice"
        elif wrong := option.problem(value):
            yield f"'{shown}' {wrong}"
        else:
            listed = [value] if option.many and not isinstance(value, list) else value
            self.values[option.path] = tuple(listed) if option.many else listed

    def _is_within(self, option: Option, within: Sequence[str]) -> bool:
        """Whether an option is one of the group and the object that these keys lead to."""
        holder = next((key for key in within if key in self.objects), None)
        if holder is not None:
            return option.path[0] == holder and len(option.path) > 1
        return self.is_record or not within or group_name(option.group) == within[0]


def _names(option: Option) -> set[str]:
    return {option.name, option.path[-1], *option.aliases, *option.formerly}


def _toml(content: bytes) -> dict[str, Any]:
    """The values of a TOML file. Raises ValueError or RecursionError where it is none."""
    if len(content) > _LONGEST:
        raise ValueError(f"it has over {_LONGEST:,} bytes")
    text = content.decode("utf-8-sig")  # Windows' editors put a mark in front
    if any(line.count(".") > _MOST_DOTS for line in text.split("\n")):
        raise ValueError(f"a line of it has over {_MOST_DOTS:,} dots")
    return tomllib.loads(text)


def _record(content: bytes) -> dict[str, Any]:
    """The options in a run's record. Raises ValueError where it is none."""
    if len(content) > _LONGEST_RECORD:
        raise ValueError(f"it has over {_LONGEST_RECORD:,} bytes")
    written_values = parse_json(content.decode("utf-8")).get("options")
    if not isinstance(written_values, dict):
        raise ValueError("it has no options")
    return written_values
