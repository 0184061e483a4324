"""What every command shares: its console, and the options --json, --config, --quiet and --verbose."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ..errors import Interrupted
from .console import Console
from .options import PANEL, config_option

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Results, warnings and errors only.", rich_help_panel=PANEL)]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", help="The libraries' messages, and the traceback of an error.", rich_help_panel=PANEL
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.", rich_help_panel=PANEL)]


def verb(function: Callable[..., None]) -> Callable[..., None]:
    """Make `function(console, **options)` a Typer command that also takes the shared options.

    A function with a parameter `explicit` gets the names of the options that the user gave, on the command line or in
    a file. Typer reads the signature of what it is given, so the shared options are added to the wrapper's.
    """
    parameters = inspect.signature(function, eval_str=True).parameters
    own = [parameter for name, parameter in parameters.items() if name not in ("console", "explicit")]

    @functools.wraps(function)
    def run(context: typer.Context, **options: Any) -> None:
        console = context.find_object(Console) or Console()
        options.pop("config", None)
        console.quiet |= options.pop("quiet")
        console.verbose |= options.pop("verbose")
        console.json = options.pop("json_output")
        console.hush_libraries()
        if "explicit" in parameters:
            options["explicit"] = frozenset(name for name in options if _is_given(context, name))
        try:
            function(console, **options)
        except KeyboardInterrupt as stop:  # Ctrl-C, or SIGTERM as errors.Terminated
            raise Interrupted("interrupted", exit_code=getattr(stop, "exit_code", 130)) from None
        finally:
            console.events.end()

    def keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)

    shared = [
        keyword("config", config_option(own), None),
        keyword("json_output", Json, False),
        keyword("quiet", Quiet, False),
        keyword("verbose", Verbose, False),
    ]
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    shown = [context, *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own), *shared]
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return run


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "DEFAULT_MAP")
