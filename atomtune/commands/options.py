"""Options from a TOML file: its values become the defaults of a command's options, so the command line wins."""

import difflib
import inspect
import math
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from typer.models import OptionInfo

from ..errors import UsageError, excerpt

PANEL = "Every command"
EXAMPLE = "a key is an option without its dashes, as in: steps = 500"

_LONGEST = 64_000  # bytes of a file
_MOST_DOTS = 1_000  # in a line; what a parser of TOML needs grows with the square of the parts of a dotted key
_MOST_PROBLEMS = 20


class Option:
    """One option of a command, as its function's signature declares it."""

    def __init__(self, parameter: inspect.Parameter) -> None:
        annotation = parameter.annotation
        self.info: OptionInfo | None = None
        if get_origin(annotation) is Annotated:
            annotation, *metadata = get_args(annotation)
            self.info = next((item for item in metadata if isinstance(item, OptionInfo)), None)
        if get_origin(annotation) in (Union, types.UnionType):
            annotation = next(member for member in get_args(annotation) if member is not type(None))
        self.name = parameter.name
        self.multiple = get_origin(annotation) is list
        self.type = get_args(annotation)[0] if self.multiple else annotation

    @property
    def key(self) -> str:
        """The option's key in a file: its long name, without dashes in front and with underscores inside."""
        # inside Annotated, the first name an option is declared with stands in the place of the default
        declared = [self.info.default, *(self.info.param_decls or ())] if self.info else []
        long = next((name for name in declared if isinstance(name, str) and name.startswith("--")), self.name)
        return _key(long.split("/")[0].lstrip("-"))

    def problem(self, value: object) -> str | None:
        """Say what is wrong with a value from a file, if anything is."""
        values = value if self.multiple and isinstance(value, list) else [value]
        expected = self._expected()
        if not all(self._fits(item) for item in values):
            return f"must be {expected}{' or a list of them' if self.multiple else ''}, not {_show(value)}"
        if any(isinstance(item, str) and "\0" in item for item in values):
            return "must be text without NUL characters"
        low, high = (self.info.min, self.info.max) if self.info else (None, None)
        numbers = [item for item in values if isinstance(item, int | float)]
        for item in numbers:
            if (low is not None and item < low) or (high is not None and item > high):
                bounds = [f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None)
                return f"must be {' and '.join(bounds)}, not {_show(item)}"
        return None

    def _fits(self, value: object) -> bool:
        if get_origin(self.type) is Literal:
            return value in get_args(self.type)
        if self.type is bool or isinstance(value, bool):
            return self.type is bool and isinstance(value, bool)
        if isinstance(value, int | float):
            is_number = abs(value) < 2**63 if isinstance(value, int) else not math.isnan(value)
            return is_number and (self.type is float or (self.type is int and isinstance(value, int)))
        return isinstance(value, str) and self.type not in (int, float)

    def _expected(self) -> str:
        if get_origin(self.type) is Literal:
            return "one of " + ", ".join(f'"{choice}"' for choice in get_args(self.type))
        names = {bool: "true or false", int: "a whole number", float: "a number", Path: "a path in quotes"}
        return names.get(self.type, "text in quotes")


def read_config(path: Path, options: Mapping[str, Option]) -> dict[str, Any]:
    """Read a TOML file into values by parameter name; `options` are the command's, by key.

    Raises UsageError that lists every error at once, or the first of very many.
    """
    try:
        content = _parse(path)
    except OSError as problem:
        raise UsageError(f"cannot read {path}: {problem.strerror}", "--config takes a TOML file") from None
    except RecursionError:
        raise UsageError(f"{path} is not valid TOML: it is nested too deep", EXAMPLE) from None
    except ValueError as problem:  # of the text, of TOML, or of a number with too many digits
        raise UsageError(f"{path} is not valid TOML: {excerpt(problem)}", EXAMPLE) from None
    values: dict[str, Any] = {}
    problems = []
    for written, value in content.items():
        option = options.get(_key(written))
        if option is None:
            close = difflib.get_close_matches(_key(written)[:40], options, n=1)
            meant = f" (did you mean '{close[0]}'?)" if close else ""
            problems.append(f"unknown key '{excerpt(written, 40)}'{meant}")
        elif option.name in values:
            problems.append(f"'{written}' is given twice")
        elif wrong := option.problem(value):
            problems.append(f"'{written}' {wrong}")
        else:
            values[option.name] = [value] if option.multiple and not isinstance(value, list) else value
        if len(problems) == _MOST_PROBLEMS:
            break
    if problems:
        known = ", ".join(sorted(options))
        raise UsageError("\n".join(f"{path}: {problem}" for problem in problems), f"the keys are {known}")
    return values


def _parse(path: Path) -> dict[str, Any]:
    """The values of a TOML file. Raises OSError, ValueError or RecursionError where it cannot be read or is none."""
    with path.open("rb") as stream:
        content = stream.read(_LONGEST + 1)  # a file may be endless
    if len(content) > _LONGEST:
        raise ValueError(f"it has over {_LONGEST:,} bytes")
    text = content.decode("utf-8-sig")  # editors of Windows put a mark in front
    if any(line.count(".") > _MOST_DOTS for line in text.split("\n")):
        raise ValueError(f"a line of it has over {_MOST_DOTS:,} dots")
    return tomllib.loads(text)


def config_option(parameters: list[inspect.Parameter]) -> Any:
    """Make the annotation of a --config option that sets the defaults of a command with these parameters."""
    declared = [Option(parameter) for parameter in parameters]
    options = {option.key: option for option in declared if option.info is not None}

    def load(context: typer.Context, path: Path | None) -> Path | None:
        if path is not None:
            context.default_map = read_config(path, options)
        return path

    return Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Read options from a TOML file (steps = 500); the command line wins.",
            is_eager=True,
            callback=load,
            rich_help_panel=PANEL,
        ),
    ]


def _key(name: str) -> str:
    return name.replace("-", "_")


def _show(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{excerpt(value)}"'
    if _is_plain(value) or (isinstance(value, list) and all(map(_is_plain, value))):
        return excerpt(value)
    return "a table or list" if isinstance(value, dict | list) else "a number that long"


def _is_plain(value: object) -> bool:
    """Whether Python shows a value: not where it is nested too deep or a number has too many digits."""
    return not isinstance(value, dict | list) and not (isinstance(value, int) and abs(value) >= 2**63)
