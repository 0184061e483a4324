"""What every command shares: options as parameters and objects, the console, --json, --config, --quiet, --verbose."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ..data.tokens import default_token
from ..errors import Interrupted, UsageError
from ..runtime.option import Option
from ..runtime.options import OptionError, Options, options_of
from .console import Console
from .options.command import ALL, SHARED_PANEL, essential, help_of
from .options.config_file import Config, read_config
from .options.signature import given_values, named_problems, option_classes, parameter, parameter_name

Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", metavar="", help="Results, warnings and errors only.", rich_help_panel=SHARED_PANEL),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        metavar="",
        help="The libraries' messages, and the traceback of an error.",
        rich_help_panel=SHARED_PANEL,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", metavar="", help="Print the result as one JSON object.", rich_help_panel=SHARED_PANEL)
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Read options from a TOML file (steps = 500) or a run's run.json; the command line wins.",
        rich_help_panel=SHARED_PANEL,
    ),
]


def _show_all(context: typer.Context, wanted: bool) -> None:
    if wanted:
        context.meta[ALL] = True
        typer.echo(context.get_help())
        raise typer.Exit


HelpAll = Annotated[
    bool,
    typer.Option(
        ALL, metavar="", help="Show every option.", is_eager=True, callback=_show_all, rich_help_panel=SHARED_PANEL
    ),
]


def verb(function: Callable[..., None]) -> Callable[..., None]:
    """Make `function(console, **objects)` a Typer command.

    A parameter whose annotation is an options class becomes all its options, and gets an object of that class; one
    called `explicit` gets the options that the user gave, on the command line or in a file. Other parameters are left
    to Typer. What is wrong with the options is raised as one UsageError that lists it all.
    """
    parameters = inspect.signature(function, eval_str=True).parameters
    classes = option_classes(function)
    own = [one for name, one in parameters.items() if name not in {"console", "explicit", *classes}]
    options = [option for cls in classes.values() for option in options_of(cls)]

    def run(context: typer.Context, **texts: Any) -> None:
        console = context.find_object(Console) or Console()
        console.quiet |= texts.pop("quiet")
        console.verbose |= texts.pop("verbose")
        console.json = texts.pop("json_output")
        console.hush_libraries()
        file = texts.pop("config")
        texts.pop("help_all", None)
        texts |= {option.name: texts[parameter_name(option)] for option in options}
        try:
            config = read_config(file, options) if file else None
            objects = {one.name: texts[one.name] for one in own}
            objects |= _objects(context, classes, options, texts, config)
            if "explicit" in parameters:
                said = [option for option in options if texts[option.name] is not None]
                in_file = [option for option in options if config and option.path in config.values]
                objects["explicit"] = frozenset(option.path for option in (*said, *in_file))
            function(console, **objects)
        except KeyboardInterrupt as stop:  # Ctrl-C, or SIGTERM as errors.Terminated
            raise Interrupted("interrupted", exit_code=getattr(stop, "exit_code", 130)) from None
        finally:
            console.events.end()

    def keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)

    shared = [
        keyword("config", ConfigFile, None),
        keyword("json_output", Json, False),
        keyword("quiet", Quiet, False),
        keyword("verbose", Verbose, False),
    ]
    shared += [keyword("help_all", HelpAll, False)] if essential(function) else []
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    given = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    shown = [context, *given, *map(parameter, options), *shared]
    run.__name__ = function.__name__
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in shown}
    return run


def _objects(
    context: typer.Context,
    classes: dict[str, type[Options]],
    options: Sequence[Option],
    texts: dict[str, Any],
    config: Config | None,
) -> dict[str, Options]:
    """The objects of options classes, by the names of a command's parameters."""
    values, problems = given_values(options, texts, config)
    if config and config.is_record:
        _forget_other_method(values, texts)
        _forget_other_concept(values, texts, config.values)
    hint = f"{context.command_path} {help_of(context)} lists the options"
    objects: dict[str, Options] = {}
    for name, cls in classes.items():
        paths = {option.path for option in options_of(cls)}
        try:
            objects[name] = cls.from_values({path: value for path, value in values.items() if path in paths})
        except OptionError as problem:
            problems += [one for one in problem.problems if one[0] not in {name for name, _ in problems}]
            hint = problem.hint or hint
        except TypeError:  # for want of an option that is required, or could not be read
            if not problems:
                raise
    if problems:
        raise UsageError("\n".join(named_problems(problems, options, config, texts)), hint)
    return objects


def _forget_other_method(values: dict[tuple[str, ...], Any], texts: dict[str, Any]) -> None:
    """Where the command line names a method or preset, a record's spec goes, and with a method its learning rate."""
    for option, gone in (("method", ("spec", "lr")), ("preset", ("spec",))):
        if texts.get(option) is not None:
            for path in [path for path in values if path[0] in gone and texts.get(path[-1]) is None]:
                del values[path]


def _forget_other_concept(
    values: dict[tuple[str, ...], Any], texts: dict[str, Any], recorded: Mapping[tuple[str, ...], Any]
) -> None:
    """Where the command line names another concept, what followed from the name of the record's goes."""
    name = recorded.get(("concept", "name"))
    others = [option for option in ("concept", "token_vectors") if texts.get(option) is not None]
    if not isinstance(name, str) or not others:
        return
    vectors = recorded.get(("concept", "token_vectors"), 1)
    followed: dict[tuple[str, ...], Any] = {("concept", "token"): default_token(name, vectors)}
    if "concept" in others:
        followed |= {("concept", "class_noun"): name, ("images",): str(Path("concepts") / name)}
    for path, value in followed.items():
        if texts.get(path[-1]) is None and path in values and str(values[path]) == value:
            del values[path]
