"""The commands as Typer runs them: names of other trainers are understood, as are words without an option's name, and
help says no more than is needed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache
from itertools import pairwise
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from ...errors import UsageError, did_you_mean, excerpt
from ...methods import METHODS
from ...methods.options import spec_class
from ...methods.specs import SPECS
from ...runtime.option import Option
from ...runtime.options import declared_options, options_of
from ..console import Console
from .other_trainers import INSTEAD, instead
from .signature import option_classes, parameter_name

_ONE_SCREEN = 40
"""Options up to which `--help` shows all; beyond that the essential ones, and `--help-all` the rest."""

ALL = "--help-all"

SHARED_PANEL = "Every command"
"""The heading of the options that every command has."""


@dataclass(frozen=True)
class Names:
    """How the options of a command are called.

    Attributes:
        flags: ours, negatives included; aliases, formerly: ours by the names of other trainers, and by former ones.
        off: the names of flags that are off by default.
        parameters: what Python calls them.
        further: of a flag that may be given again, what it is then.
    """

    flags: set[str]
    aliases: dict[str, str]
    formerly: dict[str, str]
    off: set[str]
    parameters: set[str]
    further: dict[str, str]

    @classmethod
    def of(cls, function: Callable[..., None]) -> "Names":
        """The names of a command's options."""
        options = _options(function)
        flags = {option.flag for option in options}
        flags |= {option.flag.replace("--", "--no-", 1) for option in options if option.kind is bool}
        return cls(
            flags,
            {alias: option.flag for option in options for alias in option.aliases},
            {name: option.flag for option in options for name in option.formerly},
            {option.name for option in options if option.kind is bool and option.default is not True},
            {parameter_name(option) for option in options},
            {
                first.flag: option.flag
                for option in options
                for first in options
                if option.further_of is not None and first.path[0] == option.further_of and first.word == "first"
            },
        )

    def each_once(self, arguments: Iterable[str]) -> Iterator[str]:
        """Arguments with the further ones of `--concept A --concept B` by the name of the option that takes them."""
        seen: set[str] = set()
        for argument in arguments:
            flag, equals, value = argument.partition("=")
            yield self.further[flag] + equals + value if flag in seen else argument
            seen |= {flag} & self.further.keys()

    def ours(self, argument: str, warn: Callable[[str], None]) -> str:
        """An argument with our name of the option that it gives. Raises UsageError for one that is not needed here."""
        written, equals, value = argument.partition("=")
        name = written.removeprefix("--").replace("-", "_")
        flag = "--" + name.replace("_", "-")
        if not written.startswith("--") or not name or written in self.flags:
            return argument
        if name in self.formerly:
            flag = self.formerly[name]
            warn(f"{written} is called {flag} now")
        elif name in self.aliases:
            flag = self.aliases[name]
        elif name in INSTEAD and flag not in self.flags:
            raise UsageError(f"there is no option {written}", instead(name))
        return flag + equals + value if flag in self.flags else argument


def _options(function: Callable[..., None]) -> list[Option]:
    return [option for kind in option_classes(function).values() for option in options_of(kind)]


def command_class(function: Callable[..., None]) -> type[TyperCommand]:
    """The class of a command: it knows the names that other trainers have for its options, and their former ones; and
    which options are given by words without a name, as in `atomtune sample rex "a <rex> in the snow"`.
    """
    names = cache(lambda: Names.of(function))  # when a command line is read, not when the program starts
    words = [option for option in _declared(function) if option.word]

    class Command(TyperCommand):
        """A command with options of this program's."""

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            """Put our names in the place of others, and words without a name where they belong."""
            console = ctx.find_object(Console) or Console()
            ours = list(names().each_once(names().ours(argument, console.warn) for argument in args))
            with _known_options(ctx, names().flags):
                ctx.allow_extra_args = bool(words) or ctx.allow_extra_args
                left = super().parse_args(ctx, _spelled_out(ours, names().flags))
            if words and left and not ctx.resilient_parsing:
                _place(ctx, left, words)
                ctx.args = []
            return ctx.args

        def collect_usage_pieces(self, ctx: Any) -> list[str]:
            """With the words that need no option's name."""
            shown = [f"[{one.metavar}]{'...' if one.many else ''}" for one in words]
            return [*super().collect_usage_pieces(ctx), *shown]

        def format_help(self, ctx: Any, formatter: Any) -> None:
            """Without the negatives of what is off by default: they are for what a file switches on."""
            for shown in self.params:
                if isinstance(shown, TyperOption) and shown.name in names().off:
                    shown.secondary_opts = []
            self._hide_all_but(set() if ctx.meta.get(ALL) else essential(function))
            super().format_help(ctx, formatter)

        def get_help_option(self, ctx: Any) -> Any:
            """`--help` without a type, beside the others that every command has."""
            shown = _without_type(super().get_help_option(ctx))
            shown.rich_help_panel = SHARED_PANEL
            return shown

        def _hide_all_but(self, some: set[str]) -> None:
            for shown in self.params:
                if isinstance(shown, TyperOption) and shown.name in names().parameters:
                    shown.hidden = bool(some) and shown.name not in some

    return Command


def _declared(function: Callable[..., None]) -> list[Option]:
    return [option for kind in option_classes(function).values() for option in declared_options(kind)]


def essential(function: Callable[..., None]) -> set[str]:
    """The parameters that help shows where it does not show all; none where all fit on a screen."""
    options = _options(function)
    shown = {parameter_name(option) for option in options if option.essential}
    return shown if len(options) > _ONE_SCREEN else set()


@contextmanager
def _known_options(ctx: Any, flags: set[str]) -> Iterator[None]:
    """Within the context an option that there is not is a UsageError that names the nearest one, and other errors know
    the command whose help they point to.
    """
    try:
        yield
    except typer.TyperException as problem:
        name = getattr(problem, "option_name", None)
        if type(problem).__name__ == "NoSuchOption" and isinstance(name, str):
            close = did_you_mean(name, [*flags, *_SHARED])
            raise UsageError(
                f"there is no option {excerpt(name, 60)}{close}", f"{ctx.command_path} {help_of(ctx)} lists the options"
            ) from None
        if getattr(problem, "ctx", ctx) is None:
            vars(problem)["ctx"] = ctx
        raise


def help_of(ctx: Any) -> str:
    """The option that shows all options of a command."""
    has_more = any(ALL in getattr(one, "opts", ()) for one in ctx.command.params)
    return ALL if has_more else "--help"


def _place(ctx: Any, given: Sequence[str], words: Sequence[Option]) -> None:
    """Give options the words of a command line that have no name. Raises UsageError for those that are too many."""
    first = next((option for option in words if option.word == "first"), None)
    rest = next((option for option in words if option.word == "rest"), None)
    left = list(given)
    is_prompt = rest is not None and len(left[0].split()) > 1  # nothing else has spaces
    if first is not None and not is_prompt and not ctx.params[parameter_name(first)]:
        taken = left if rest is None and first.many else left[:1]
        ctx.params[parameter_name(first)] = taken if first.many else taken[0]
        left = left[len(taken) :]
    if rest is not None and left:
        ctx.params[parameter_name(rest)] = [*(ctx.params[parameter_name(rest)] or ()), *left]
        left = []
    if left:
        known = " and ".join(f"{option.flag} {option.metavar}" for option in words)
        raise UsageError(
            f"it is not clear what {excerpt(left[0], 60)!r} is",
            f"words without an option's name are {known}; {ctx.command_path} {help_of(ctx)} lists the options",
        )


_SHARED = ("--config", "--json", "--quiet", "--verbose", "--help")


def _spelled_out(arguments: list[str], flags: set[str]) -> list[str]:
    """Arguments with the fields of another package's method, but for names in `flags`, as `--method-arg NAME=VALUE`."""
    asked = [value.removeprefix("--method=") for value in arguments if value.startswith("--method=")]
    asked += [value for name, value in pairwise(arguments) if name == "--method"]
    if "--method-arg" not in flags or not asked or asked[-1] in SPECS or asked[-1] not in METHODS:
        return arguments
    known = {field.name: field.default for field in fields(spec_class(asked[-1]))}
    spelled: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        written, equals, value = argument.partition("=")
        name = written.removeprefix("--").replace("-", "_")
        if not written.startswith("--") or name not in known or written in flags:
            spelled.append(argument)
            continue
        if not equals:
            value = "true" if isinstance(known[name], bool) else next(remaining, "")
        spelled += ["--method-arg", f"{name}={value}"]
    return spelled


class Group(TyperGroup):
    """The program itself."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Flags without a type."""
        for shown in self.params:
            _without_type(shown)
        super().format_help(ctx, formatter)

    def get_help_option(self, ctx: Any) -> Any:
        """`--help` without a type."""
        return _without_type(super().get_help_option(ctx))


def _without_type(option: Any) -> Any:
    if isinstance(option, TyperOption) and option.is_flag:
        option.metavar = ""
    return option
