"""The Typer app and its entry point, which turns every failure into one line, one hint and an exit code."""

import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import cleandoc
from types import FrameType
from typing import Annotated

import typer

from .. import __version__
from ..errors import AtomtuneError, Interrupted, Terminated, UsageError
from ..runtime.streams import lasting_streams
from ..runtime.termination import termination_signals
from .caption import caption
from .classify import CLASSIFY, classify
from .compare import compare
from .concepts import concepts
from .console import Console
from .decompose import decompose
from .demo import demo
from .doctor import doctor
from .evaluate import evaluate
from .export import export
from .fleet import cancel, fleet, status
from .fleet import train as train_fleet
from .inspect import inspect
from .mask import mask
from .merge import merge
from .options.command import Group, command_class
from .pocket import images, list_, pocket
from .prepare import prepare
from .publish import publish
from .sample import sample
from .serve import serve
from .train import train
from .ui import ui
from .verb import Quiet, Verbose, verb

TRACEBACK_HINT = "run it again with -v for the traceback"

app = typer.Typer(
    name="atomtune",
    cls=Group,
    help="Teach Stable Diffusion a new concept from a few photos by training only the filter atoms of its UNet.",
    epilog="Try it: atomtune demo",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = (
    decompose,
    mask,
    caption,
    prepare,
    train,
    sample,
    evaluate,
    compare,
    merge,
    export,
    publish,
    serve,
    concepts,
    inspect,
    doctor,
    demo,
    ui,
)
POCKET: dict[str, Callable[..., None]] = {"images": images, "list": list_}
FLEET: dict[str, Callable[..., None]] = {"train": train_fleet, "status": status, "cancel": cancel}


def _add(place: typer.Typer, name: str, function: Callable[..., None]) -> None:
    description, _, examples = cleandoc(function.__doc__ or "").partition("Examples:\n")
    paragraphs = "\n\n".join(" ".join(paragraph.split()) for paragraph in description.split("\n\n"))
    made = place.command(name, cls=command_class(function), help=paragraphs, epilog=f"Examples:\n{examples}")
    made(verb(function))


for _command in COMMANDS:
    _add(app, _command.__name__, _command)
for _name, _function in POCKET.items():
    _add(pocket, _name, _function)
for _name, _function in CLASSIFY.items():
    _add(classify, _name, _function)
app.add_typer(pocket, name="pocket")
for _name, _function in FLEET.items():
    _add(fleet, _name, _function)
app.add_typer(fleet, name="fleet")
app.add_typer(classify, name="classify")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"atomtune {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    quiet: Quiet = False,
    verbose: Verbose = False,
    version: Annotated[
        bool,
        typer.Option("--version", metavar="", help="Show the version and exit.", is_eager=True, callback=_version),
    ] = False,
) -> None:
    console = context.ensure_object(Console)
    console.quiet, console.verbose = quiet, verbose
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (that of the process, if none is given) and return the exit code."""
    console = Console()
    with lasting_streams(), _termination_as_exception():
        return _run(console, arguments)


def _run(console: Console, arguments: Sequence[str] | None) -> int:
    try:
        code = typer.main.get_command(app).main(
            args=None if arguments is None else list(arguments),
            prog_name="atomtune",
            standalone_mode=False,
            obj=console,
        )
        return code if isinstance(code, int) else 0
    except (Exception, KeyboardInterrupt) as problem:
        if console.verbose:
            traceback.print_exception(problem)
        known = explain(problem)
        console.error(known)
        return known.exit_code


def explain(problem: BaseException) -> AtomtuneError:
    """Put any exception as an error with a line, a hint and an exit code."""
    if isinstance(problem, AtomtuneError):
        return problem
    if isinstance(problem, KeyboardInterrupt | typer.Abort):
        return Interrupted("interrupted", exit_code=getattr(problem, "exit_code", 130))
    if isinstance(problem, typer.TyperException):
        context = getattr(problem, "ctx", None)
        path = context.command_path if context else "atomtune"
        message = " ".join(problem.format_message().rstrip(".").split())
        return UsageError(message[:1].lower() + message[1:], f"{path} --help lists commands and options")
    if isinstance(problem, MemoryError) or type(problem).__name__ == "OutOfMemoryError":
        return AtomtuneError("out of memory", "a smaller --batch-size or --resolution needs less")
    if isinstance(problem, OSError) and problem.strerror:
        place = f": {problem.filename}" if problem.filename is not None else ""
        return AtomtuneError(f"{problem.strerror}{place}", TRACEBACK_HINT)
    text = (str(problem).strip().splitlines() or ["no message"])[0]
    return AtomtuneError(f"{type(problem).__name__}: {text}", TRACEBACK_HINT)


@contextmanager
def _termination_as_exception() -> Iterator[None]:
    before = {number: signal.signal(number, _terminate) for number in termination_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
