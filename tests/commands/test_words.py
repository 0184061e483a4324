"""What a newcomer types: words without an option's name, misspelt names, and help that fits on a screen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atomtune.commands.options.signature import option_classes
from atomtune.runtime.options import options_of

Cli = Callable[..., Any]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERMINAL_WIDTH", "160")


def test_a_word_alone_is_the_concept(cli: Cli, tiny_model: Path, images: Path) -> None:
    named = cli("prepare", "castle", "--model", tiny_model, "--images", images, "--output", "a")
    assert named.code == 0
    said = cli("prepare", "--concept", "castle", "--model", tiny_model, "--images", images, "--output", "b")
    assert named.out.replace("a/", "b/") == said.out


def test_words_after_the_concept_are_prompts(cli: Cli) -> None:
    answer = cli("sample", "rex", "a <rex> in the snow", "--grid", "a <rex>")
    assert (answer.code, answer.err.splitlines()[0]) == (1, "Error: there is no concept rex in runs/")


def test_a_sentence_is_a_prompt_and_no_concept(cli: Cli, tiny_model: Path) -> None:
    answer = cli("sample", "a castle", "--model", tiny_model, "--steps", 1, "--device", "cpu")
    assert answer.code == 0
    assert Path(answer.out.strip()).name == "00000-0-a-castle-base.png"


def test_words_of_a_command_with_several_concepts_are_all_concepts(cli: Cli) -> None:
    Path("runs/rex").mkdir(parents=True)
    answer = cli("export", "rex", "dog", "--output", "both.safetensors")
    assert answer.err.startswith("Error: there is no concept dog")


def test_a_word_too_many_is_refused(cli: Cli) -> None:
    answer = cli("train", "rex", "dog")
    assert answer.code == 2
    assert answer.err.startswith("Error: it is not clear what 'dog' is\nHint: ")
    assert "--concept NAME" in answer.err


def test_the_usage_line_shows_the_words(cli: Cli) -> None:
    assert "atomtune sample [OPTIONS] [NAME]... [PROMPT]..." in cli("sample", "--help").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "rex", "--stepz", "3"], "there is no option --stepz (did you mean '--steps'?)"),
        (["train", "rex", "--method", "lorra"], "not \"lorra\" (did you mean 'lora'?)"),
        (["demo", "catsle"], "pocket knows no 'catsle' (did you mean 'castle'?)"),
        (["pocket", "images", "dgo", "--output", "x"], "pocket has no class 'dgo' (did you mean 'dog'?)"),
        (["export", "rexx"], "there is no concept rexx in runs/ (did you mean 'rex'?)"),
        (["evaluate", "rexx"], "there is no concept rexx in runs/ (did you mean 'rex'?)"),
        (["train", "rexx", "--model", "pocket"], "there is no folder concepts/rexx (did you mean 'rex'?)"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest_one(cli: Cli, arguments: list[str], said: str) -> None:
    Path("runs/rex").mkdir(parents=True)
    Path("runs/rex/atoms.safetensors").write_bytes(b"")
    Path("concepts/rex").mkdir(parents=True)
    answer = cli(*arguments)
    assert answer.code != 0
    assert said in answer.err.splitlines()[0]
    assert len(answer.err.splitlines()) == 2


def test_an_option_without_its_value_points_to_the_commands_help(cli: Cli) -> None:
    assert "atomtune sample --help" in cli("sample", "--steps").err


def test_the_help_of_train_is_the_essentials_and_help_all_the_rest(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from atomtune.commands.train import train

    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    flags = [option.flag for kind in option_classes(train).values() for option in options_of(kind)]
    short, everything = cli("train", "--help").out, cli("train", "--help-all").out
    assert len(short.splitlines()) < 75
    assert {flag for flag in flags if f"{flag} " in short} < {flag for flag in flags if f"{flag} " in everything}
    assert all(f"{flag} " in everything for flag in flags)
    for essential in ("--concept", "--images", "--model", "--preset", "--steps", "--sample-every", "--resume"):
        assert f"{essential} " in short
    assert "--help-all" in short


@pytest.mark.parametrize("command", [[], ["pocket"], ["pocket", "images"], ["pocket", "list"], ["train"], ["inspect"]])
def test_flags_have_no_type_in_help(cli: Cli, command: list[str]) -> None:
    shown = cli(*command, "--help").out
    assert "<bool>" not in shown
    assert "BOOL" not in shown
