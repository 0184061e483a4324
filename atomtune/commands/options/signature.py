"""The parameters that Typer reads, made from options; and the values that come of a command line and a file."""

import inspect
import keyword
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from ...runtime.option import Option
from ...runtime.options import Options
from .config_file import Config, Values, make_objects

_WIDEST_CHOICES = 24  # characters of choices that stand in the place of a metavar


def option_classes(function: Callable[..., None]) -> dict[str, type[Options]]:
    """The options classes that a command takes, by the names of its parameters."""
    parameters = inspect.signature(function, eval_str=True).parameters
    kinds = {name: one.annotation for name, one in parameters.items()}
    return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Options)}


def parameter(option: Option) -> inspect.Parameter:
    """Typer's parameter of an option. It hands texts over as they are: `Option` says what is wrong with them."""
    kind: Any = bool | None if option.kind is bool else list[str] | None if option.many else str | None
    negative = "/--no-" + option.flag.removeprefix("--") if option.kind is bool else ""
    info = typer.Option(
        option.flag + negative,
        help=_help(option),
        metavar=_metavar(option),
        autocompletion=_completion(option),
        rich_help_panel=option.panel or option.group.panel,
    )
    return inspect.Parameter(
        parameter_name(option), inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, info]
    )


def parameter_name(option: Option) -> str:
    """What Python calls the option's parameter."""
    return option.name + "_" * keyword.iskeyword(option.name)


def _help(option: Option) -> str:
    notes = []
    if _metavar(option) == "NAME" and (choices := _listed(option)):
        notes.append(f"one of {', '.join(choices)}")
    if option.is_required or option.default_text:
        notes.append("required" if option.is_required else f"default: {option.default_text}")
    return (f"{option.help} [{'; '.join(notes)}]" if notes else option.help).replace("[", r"\[")


def _metavar(option: Option) -> str:
    if option.kind is bool:
        return ""
    if option.metavar:
        return option.metavar
    choices = "|".join(_listed(option))
    if choices:
        return choices if len(choices) <= _WIDEST_CHOICES else "NAME"
    return {int: "N", float: "X"}.get(option.kind, "TEXT")


def _listed(option: Option) -> Collection[str]:
    return option.listed() if option.listed else option.allowed


def _completion(option: Option) -> Any:
    if option.completes is not None:
        return option.completes
    if option.choices is None:
        return None
    return lambda incomplete: [choice for choice in option.allowed if choice.startswith(incomplete)]


def given_values(
    options: Iterable[Option], texts: Mapping[str, Any], config: Config | None
) -> tuple[Values, list[tuple[str, str]]]:
    """The values that were given by the paths of their options, and what is wrong with them by the options' names.

    Args:
        texts: by the options' names, None for what the command line does not say.
    """
    values: Values = dict(config.values) if config else {}
    problems: list[tuple[str, str]] = []
    for option in options:
        said = texts.get(option.name)
        try:
            if said is not None and option.kind is not bool:
                said = tuple(map(option.parsed, said)) if option.many else option.parsed(said)
            wrong = None if said is None else option.problem(said)
        except ValueError:
            wrong = option.problem(texts[option.name]) or f"must be {option.expected}"
        if wrong:
            problems.append((option.name, wrong))
        elif said is not None:
            values[option.path] = said
        elif option.is_required and option.path not in values:
            problems.append((option.name, "is required"))
    problems += make_objects(options, values)
    return values, problems


def named_problems(
    problems: Sequence[tuple[str, str]], options: Iterable[Option], config: Config | None, texts: Mapping[str, Any]
) -> list[str]:
    """Problems with the options as the user wrote them: `--steps`, or a file's key."""
    known = {option.name: option for option in options}
    lines = []
    for name, text in problems:
        option = known.get(name)
        if option is None:
            lines.append(f"{name} {text}".strip())
        elif config and texts.get(name) is None and option.path in config.values:
            lines.append(f"{config.path}: '{name}' {text}")
        else:
            lines.append(f"{option.flag} {text}")
    return lines
