"""Options: what is declared once becomes checks, messages, dictionaries and defaults."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from atomtune.runtime.option import option, same_as
from atomtune.runtime.options import OptionError, Options, options_of


@dataclass(frozen=True)
class Thing:
    """Held by a field; not a group itself."""

    name: str = option(..., "Its name.", name="thing")
    size: int = option(3, "Its size.")


@dataclass(frozen=True, kw_only=True)
class LookOptions(Options, panel="Look"):
    """A first group."""

    thing: Thing
    folder: Path = option(None, "Its folder.", derived=lambda options: Path("things") / options.thing.name)
    colours: tuple[str, ...] = option((), "Its colours.", name="colour", choices=("red", "blue"))


@dataclass(frozen=True, kw_only=True)
class PaceOptions(Options, panel="Pace"):
    """A second one."""

    steps: int = option(5, "Steps.", at_least=1, at_most=9, aliases=("max_steps",))
    rate: float | None = option(None, "Rate.", above=0, below=1)
    fast: bool = option(False, "Faster.")

    def check(self) -> Iterator[tuple[str, str]]:
        if self.fast and self.rate is None:
            yield "fast", "needs a rate"


@dataclass(frozen=True, kw_only=True)
class AllOptions(LookOptions, PaceOptions):
    """Both."""

    warmth: float = same_as(PaceOptions, "rate", default=0.5, at_most=0.7)


def made(**changes: Any) -> AllOptions:
    return AllOptions(**{"thing": Thing("mug"), **changes})


def problems(**changes: Any) -> list[str]:
    with pytest.raises(OptionError) as caught:
        made(**changes)
    assert caught.value.message == "\n".join(f"{name} {text}" for name, text in caught.value.problems)
    return caught.value.message.splitlines()


def test_groups_are_one_object_with_the_fields_of_all() -> None:
    options = made(steps=7, colours=["red"], folder="elsewhere")
    assert (options.steps, options.thing.name, options.warmth) == (7, "mug", 0.5)
    assert options.colours == ("red",), "a list becomes a tuple"
    assert options.folder == Path("elsewhere"), "text becomes a path"
    assert isinstance(options, PaceOptions)
    assert replace(options, steps=8).colours == ("red",)


def test_a_default_may_follow_from_other_fields() -> None:
    assert made().folder == Path("things/mug")
    assert made(thing=Thing("cup")).folder == Path("things/cup")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "steps must be a whole number from 1 to 9, not 0"),
        ({"steps": "many"}, 'steps must be a whole number from 1 to 9, not "many"'),
        ({"steps": True}, "steps must be a whole number from 1 to 9, not true"),
        ({"steps": 2.0}, "steps must be a whole number from 1 to 9, not 2.0"),
        ({"rate": 1}, "rate must be a number above 0 and below 1, not 1"),
        ({"rate": float("nan")}, "rate must be a number above 0 and below 1, not nan"),
        ({"warmth": 0.8}, "warmth must be a number above 0 and of at most 0.7 and below 1, not 0.8"),
        ({"fast": 1}, "fast must be true or false, not 1"),
        ({"colours": ("red", "green")}, 'colour must be one of red, blue, not "green"'),
        ({"folder": "a\0b"}, "folder must be text without NUL characters"),
        ({"folder": 3}, "folder must be a path, not 3"),
        ({"thing": "mug"}, 'thing must be a Thing, not "mug"'),
        ({"fast": True}, "fast needs a rate"),
    ],
)
def test_what_is_wrong_names_the_value_and_what_is_allowed(changes: dict[str, Any], said: str) -> None:
    assert problems(**changes) == [said]


def test_all_that_is_wrong_is_said_at_once() -> None:
    said = problems(steps=0, rate=5, fast=True, colours=("green",), warmth=2)
    assert [line.split()[0] for line in said] == ["colour", "steps", "rate", "warmth", "fast"]


def test_dictionaries_have_groups_and_load_with_or_without_them() -> None:
    options = made(steps=7, colours=("red",))
    nested = options.to_dict()
    assert nested == {
        "look": {"thing": {"name": "mug", "size": 3}, "folder": "things/mug", "colours": ["red"]},
        "pace": {"steps": 7, "rate": None, "fast": False},
        "warmth": 0.5,
    }
    assert AllOptions.from_dict(nested) == AllOptions.from_dict(options.flat_dict()) == options
    for harmed in ({**nested, "stpes": 1}, {**nested, "steps": 8}, {"pace": nested["pace"]}):
        with pytest.raises(TypeError):
            AllOptions.from_dict(harmed)
    with pytest.raises(OptionError, match="steps must be"):
        AllOptions.from_dict({**nested, "pace": {"steps": "7"}})


def test_every_option_is_listed_in_the_order_of_the_groups() -> None:
    listed = options_of(AllOptions)
    assert [item.flag for item in listed] == [
        *("--thing", "--size", "--folder", "--colour"),
        *("--steps", "--rate", "--fast", "--warmth"),
    ]
    assert [item.path for item in listed][:3] == [("thing", "name"), ("thing", "size"), ("folder",)]
    assert [item.group.__name__ for item in listed][2:5] == ["LookOptions", "LookOptions", "PaceOptions"]
    assert [item.is_required for item in listed] == [True, *[False] * 7]


def test_an_object_is_made_of_values_by_their_paths() -> None:
    values = {("thing", "name"): "mug", ("thing", "size"): 4, ("steps",): 2}
    assert AllOptions.from_values(values) == made(thing=Thing("mug", 4), steps=2)
    with pytest.raises(OptionError, match="steps must be"):
        AllOptions.from_values({**values, ("steps",): 0})


def test_a_field_may_hold_a_group_with_defaults_of_its_own() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Outer(Options):
        pace: PaceOptions = field(default=PaceOptions(steps=8))

    assert {item.name: item.default for item in options_of(Outer)} == {"steps": 8, "rate": None, "fast": False}
    assert Outer.from_values({("pace", "fast"): True, ("pace", "rate"): 0.1}).pace.steps == 8
    with pytest.raises(OptionError, match="fast needs a rate"):
        Outer.from_values({("pace", "fast"): True})


def test_options_of_a_run_load_no_torch() -> None:
    import subprocess
    import sys

    program = (
        "import sys; from atomtune.runtime.options import options_of;"
        "from atomtune.training.options import TrainOptions;"
        "assert len(options_of(TrainOptions)) > 50; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
