"""The commands as Typer runs them: names of other trainers are understood, and help says no more than is needed."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from itertools import pairwise
from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption

from ...errors import UsageError
from ...methods import METHODS
from ...methods.options import spec_class
from ...methods.specs import SPECS
from ...runtime.options import options_of
from ..console import Console
from .other_trainers import INSTEAD
from .signature import option_classes


@dataclass(frozen=True)
class _Names:
    """How the options of a command are called.

    Attributes:
        flags: ours, negatives included; aliases, formerly: ours by the names of other trainers, and by former ones.
        off: the names of flags that are off by default.
    """

    flags: set[str]
    aliases: dict[str, str]
    formerly: dict[str, str]
    off: set[str]

    @classmethod
    def of(cls, function: Callable[..., None]) -> "_Names":
        """The names of a command's options."""
        options = [option for kind in option_classes(function).values() for option in options_of(kind)]
        flags = {option.flag for option in options}
        flags |= {option.flag.replace("--", "--no-", 1) for option in options if option.kind is bool}
        return cls(
            flags,
            {alias: option.flag for option in options for alias in option.aliases},
            {name: option.flag for option in options for name in option.formerly},
            {option.name for option in options if option.kind is bool and option.default is not True},
        )

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
            raise UsageError(f"there is no option {written}", f"here it is {INSTEAD[name]}")
        return flag + equals + value if flag in self.flags else argument


def command_class(function: Callable[..., None]) -> type[TyperCommand]:
    """The class of a command: it knows the names that other trainers have for its options, and their former ones."""
    names = cache(lambda: _Names.of(function))  # when a command line is read, not when the program starts

    class Command(TyperCommand):
        """A command with options of this program's."""

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            """Put our names in the place of others."""
            console = ctx.find_object(Console) or Console()
            ours = [names().ours(argument, console.warn) for argument in args]
            return super().parse_args(ctx, _spelled_out(ours, names().flags))

        def format_help(self, ctx: Any, formatter: Any) -> None:
            """Without the negatives of what is off by default: they are for what a file switches on."""
            for shown in self.params:
                if isinstance(shown, TyperOption) and shown.name in names().off:
                    shown.secondary_opts = []
            super().format_help(ctx, formatter)

        def get_help_option(self, ctx: Any) -> Any:
            """`--help` without a type."""
            return _without_type(super().get_help_option(ctx))

    return Command


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
