"""Options from a TOML file: its values become the defaults of a command's options, so the command line wins."""

import difflib
import inspect
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from typer.models import OptionInfo

from ..errors import UsageError

PANEL = "Every command"
EXAMPLE = "a key is an option without its dashes, as in: steps = 500"


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
        if self.type is float:
            return isinstance(value, int | float)
        return isinstance(value, int if self.type is int else str)

    def _expected(self) -> str:
        if get_origin(self.type) is Literal:
            return "one of " + ", ".join(f'"{choice}"' for choice in get_args(self.type))
        names = {bool: "true or false", int: "a whole number", float: "a number", Path: "a path in quotes"}
        return names.get(self.type, "text in quotes")


def read_config(path: Path, options: Mapping[str, Option]) -> dict[str, Any]:
    """Read a TOML file into values by parameter name; `options` are the command's, by key.

    Raises UsageError that lists every error at once.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise UsageError(f"cannot read {path}: {problem.strerror}", "--config takes a TOML file") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise UsageError(f"{path} is not valid TOML: {problem}", EXAMPLE) from None
    values: dict[str, Any] = {}
    problems = []
    for written, value in content.items():
        option = options.get(_key(written))
        if option is None:
            close = difflib.get_close_matches(_key(written), options, n=1)
            problems.append(f"unknown key '{written}'" + (f" (did you mean '{close[0]}'?)" if close else ""))
        elif option.name in values:
            problems.append(f"'{written}' is given twice")
        elif wrong := option.problem(value):
            problems.append(f"'{written}' {wrong}")
        else:
            values[option.name] = [value] if option.multiple and not isinstance(value, list) else value
    if problems:
        known = ", ".join(sorted(options))
        raise UsageError("\n".join(f"{path}: {problem}" for problem in problems), f"the keys are {known}")
    return values


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
    return f'"{value}"' if isinstance(value, str) else str(value)
