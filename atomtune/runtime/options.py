"""Options, each said once: name, type, default, range and help, as fields of frozen dataclasses.

The command line, files, `run.json`, the Python API and the tables of the docs are made from them:

    @dataclass(frozen=True, kw_only=True)
    class LossOptions(Options, panel="Loss"):
        noise_offset: float = option(0.0, "Noise that is constant over a channel.", at_least=0, metavar="X")

Groups are combined by inheritance. `class TrainOptions(DataOptions, LossOptions)` takes the fields of both as keywords;
a helper that needs the loss alone asks for `LossOptions`, is handed the whole, and mypy holds it to its group.
Nothing here imports torch, nor may a file that declares options: `--help` reads them all.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self, get_args, get_origin, get_type_hints

from ..errors import UsageError, excerpt
from .option import KEY, UNSET, Declared, Option, shown

_PLAIN = (bool, int, float, str, Path)


class OptionError(UsageError):
    """Values that options cannot have.

    Attributes:
        problems: each the name of an option and what is wrong with it: ("steps", "must be …, not 0").
    """

    def __init__(self, problems: Sequence[tuple[str, str]], hint: str | None = None) -> None:
        super().__init__("\n".join(f"{name} {text}".strip() for name, text in problems), hint)
        self.problems = list(problems)


@dataclass(frozen=True, kw_only=True)
class Options:
    """A group of options, or several groups in one.

    Construction raises OptionError that lists every value of the wrong type or out of range, and everything that the
    groups' own `check` finds. Texts become paths and lists tuples, where a field has these types.
    """

    panel: ClassVar[str] = ""
    """The heading of the group in help."""

    hint: ClassVar[str | None] = None
    """What OptionError says can be done."""

    def __init_subclass__(cls, panel: str | None = None, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if panel is not None:
            cls.panel = panel

    def __post_init__(self) -> None:
        problems: list[tuple[str, str]] = []
        checkable = True
        for item in declared_options(type(self)):
            if len(item.path) > 1:
                continue  # checked by the object that holds it
            name, value = item.path[0], getattr(self, item.path[0])
            if value is UNSET:
                continue
            if wrong := item.problem(value):
                problems.append((item.name, wrong))
                checkable &= not item.is_required
                value = item.default if item.derived is None else UNSET
            elif item.kind is Path and isinstance(value, str):
                value = Path(value)
            elif item.each is not None:
                value = tuple(item.each.from_text(one) if isinstance(one, str) else one for one in value)
            object.__setattr__(self, name, tuple(value) if item.many and isinstance(value, list) else value)
        for name, kind in _held(type(self)).items():
            if getattr(self, name) is not UNSET and not isinstance(getattr(self, name), kind):
                problems.append((name, f"must be a {kind.__name__}, not {shown(getattr(self, name))}"))
                checkable = False
        if checkable:  # with defaults in the place of what is wrong, so that all is found at once
            for one in dataclasses.fields(self):
                if getattr(self, one.name) is UNSET:
                    object.__setattr__(self, one.name, one.metadata[KEY].derived(self))
            for group in type(self).__mro__:
                problems += group.__dict__["check"](self) if "check" in group.__dict__ else ()
        if problems:
            raise OptionError(problems, self.hint)

    def check(self) -> Iterator[tuple[str, str]]:
        """What does not fit together: the name of an option and what is wrong with it. Each group has its own."""
        return iter(())

    @classmethod
    def more_options(cls) -> tuple[Option, ...]:
        """Options besides the fields; the last part of their path is for `_assembled` to understand."""
        return ()

    @classmethod
    def from_values(cls, values: Mapping[tuple[str, ...], Any]) -> Self:
        """The object of values by the paths of their options. Raises OptionError that lists all that is wrong."""
        flat = {path[0]: value for path, value in values.items() if len(path) == 1}
        problems: list[tuple[str, str]] = []
        for name in dict.fromkeys(path[0] for path in values if len(path) > 1):
            inside = {path[1]: value for path, value in values.items() if path[0] == name and len(path) > 1}
            try:
                flat[name] = cls._assembled(name, inside, flat)
            except OptionError as problem:
                problems += problem.problems
        try:
            made = cls(**flat)
        except OptionError as problem:
            problems += problem.problems
        except TypeError:  # for want of what could not be assembled
            if not problems:
                raise
        if problems:
            raise OptionError(problems, cls.hint)
        return made

    @classmethod
    def _assembled(cls, name: str, inside: Mapping[str, Any], flat: Mapping[str, Any]) -> Any:
        """The object that a field holds, of the values of its own fields; `flat` has the other fields' values."""
        start = cls.__dataclass_fields__[name].default
        if start in (dataclasses.MISSING, UNSET):
            return _held(cls)[name](**inside)
        return dataclasses.replace(start, **inside)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: a dictionary for each group; paths as text."""
        nested: dict[str, Any] = {}
        for name, group in _grouped(type(self)).items():
            place = nested if group is type(self) else nested.setdefault(group_name(group), {})
            place[name] = _plain(getattr(self, name))
        return nested

    def flat_dict(self) -> dict[str, Any]:
        """For JSON, without groups."""
        return {name: _plain(getattr(self, name)) for name in _grouped(type(self))}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The way back from `to_dict` and `flat_dict`.

        Raises TypeError where fields are missing or unknown, OptionError for impossible values.
        """
        flat = unrecorded(cls) | flattened(cls, values)
        return cls(**{name: cls._revived(name, value, flat) for name, value in flat.items()})

    @classmethod
    def _revived(cls, name: str, value: Any, flat: Mapping[str, Any]) -> Any:
        """A field's value from what JSON has of it, and of the other fields."""
        kind = _held(cls).get(name)
        if kind is None and isinstance(value, list | tuple):
            each = next((item.each for item in declared_options(cls) if item.path == (name,)), None)
            return value if each is None else tuple(each.from_dict(one) for one in value)
        if kind is None or not isinstance(value, Mapping):
            return value
        return kind.from_dict(value) if issubclass(kind, Options) else kind(**value)


def unrecorded(cls: type[Options]) -> dict[str, Any]:
    """What a record means that was written before some options were there."""
    return {
        item.path[0]: item.unrecorded
        for item in declared_options(cls)
        if item.unrecorded is not UNSET and len(item.path) == 1
    }


def flattened(cls: type[Options], values: Mapping[str, Any]) -> dict[str, Any]:
    """What a dictionary says of the fields of an options class, whether it has groups or not."""
    names = {group_name(group) for group in _grouped(cls).values() if group is not cls}
    flat: dict[str, Any] = {}
    for name, value in values.items():
        inside = value if name in names and isinstance(value, Mapping) else {name: value}
        if twice := flat.keys() & inside.keys():
            raise TypeError(f"{excerpt(sorted(twice)[0])} is given twice")
        flat |= inside
    return flat


def group_name(group: type[Options]) -> str:
    """The name of a group in files: "loss" of LossOptions."""
    return group.__name__.removesuffix("Options").lower()


def options_of(cls: type[Options]) -> tuple[Option, ...]:
    """Every option of a class, group by group, those of the objects that its fields hold in their place."""
    return (*declared_options(cls), *cls.more_options())


def declared_options(cls: Any) -> tuple[Option, ...]:
    """Those of them that are fields."""
    return _options_of(cls)


@cache
def _options_of(cls: Any) -> tuple[Option, ...]:
    hints = get_type_hints(cls)
    known = {field.name: field for field in dataclasses.fields(cls)}
    found: list[Option] = []
    for name, group in _grouped(cls).items():
        declared = known[name].metadata.get(KEY)
        if declared is not None:
            found += [_option(known[name], hints[name], group)] if declared.help else []
        elif is_dataclass(hints[name]):
            inner = _options_of(hints[name])
            start = known[name].default
            defaults = {} if start in (dataclasses.MISSING, UNSET) else vars(start)
            for item in inner:
                default = defaults.get(item.path[0], item.default)
                found.append(dataclasses.replace(item, path=(name, *item.path), default=default, group=group))
    return tuple(found)


def _option(field: Field[Any], hint: Any, group: type[Any]) -> Option:
    declared = field.metadata[KEY]
    optional = type(None) in get_args(hint)
    given = next(member for member in get_args(hint) if member is not type(None)) if optional else hint
    many = get_origin(given) in (tuple, list)
    kind = get_args(given)[0] if many else given
    said = {name.name: getattr(declared, name.name) for name in dataclasses.fields(Declared)}
    return Option(
        **said
        | {
            "name": declared.name or field.name,
            "path": (field.name,),
            "kind": kind if kind in _PLAIN and declared.read is None else str,
            "many": many and declared.read is None,
            "optional": optional,
            "default": None if field.default is UNSET else field.default,
            "group": group,
        }
    )


def _grouped(cls: type[Any]) -> dict[str, type[Any]]:
    """The fields of a class in the order of its groups, each with the group that it came with."""
    found: dict[str, type[Any]] = {}
    for base in cls.__bases__:
        if issubclass(base, Options) and base is not Options:
            found |= {name: base for name in _grouped(base) if name not in found}
    return found | {field.name: cls for field in dataclasses.fields(cls) if field.name not in found}


def _held(cls: Any) -> dict[str, type[Any]]:
    """The fields that hold an object, with its class."""
    return _held_by(cls)


@cache
def _held_by(cls: Any) -> dict[str, type[Any]]:
    hints = get_type_hints(cls)
    return {
        field.name: hints[field.name]
        for field in dataclasses.fields(cls)
        if isinstance(hints[field.name], type) and is_dataclass(hints[field.name])
    }


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return value.flat_dict() if isinstance(value, Options) else asdict(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
