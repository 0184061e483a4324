"""The command line's behaviour that no single verb owns: help, streams, exit codes, errors, signals."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

import atomtune
from atomtune.commands import app, inspect
from atomtune.commands.verb import verb
from atomtune.errors import AtomtuneError, Interrupted, Terminated, UsageError

ROOT = Path(atomtune.__file__).parents[1]
VERBS = [
    "decompose",
    "prepare",
    "train",
    "sample",
    "evaluate",
    "compare",
    "merge",
    "export",
    "publish",
    "serve",
    "concepts",
    "inspect",
    "doctor",
    "demo",
]


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_every_verb(cli: Callable[..., Any], option: str) -> None:
    answer = cli(option)
    assert answer.code == 0
    assert answer.err == ""
    assert all(name in answer.out for name in VERBS)


def test_no_arguments_show_the_help(cli: Callable[..., Any]) -> None:
    answer = cli()
    assert answer.code == 0
    assert "Usage: atomtune" in answer.out


@pytest.mark.parametrize("name", VERBS)
def test_every_command_has_the_shared_options_and_an_example(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    answer = cli(name, "-h")
    assert answer.code == 0
    for option in ("--json", "--quiet", "-q", "--verbose", "-v", "--config"):
        assert option in answer.out
    assert "<bool>" not in answer.out
    assert f"atomtune {name}" in answer.out.partition("Examples:")[2]


@pytest.mark.parametrize("name", VERBS)
def test_every_option_has_a_sentence_of_help(name: str) -> None:
    command = typer.main.get_command(app.app).commands[name]  # type: ignore[attr-defined]
    for option in command.params:
        said = option.help.partition(" \\[")[0]
        assert said[-1] == ".", option.name
        assert said[0].isupper(), option.name


def test_version_is_printed_on_stdout(cli: Callable[..., Any]) -> None:
    answer = cli("--version")
    assert (answer.code, answer.out, answer.err) == (0, f"atomtune {atomtune.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "nonsense"),
        (["train", "--concept", "castle", "--nonsense"], "--nonsense"),
        (["train"], "--concept"),
        (["train", "--concept", "castle", "--steps", "many"], "--steps"),
        (["train", "--concept", "castle", "--steps", "0"], "--steps"),
        (["train", "--concept", "castle", "--preset", "c9"], "--preset"),
        (["train", "--concept", "castle", "--lr", "-1"], "--lr"),
        (["train", "--concept", "../castle"], "../castle"),
        (["sample", "--prompt", "a cat", "--size", "big"], "big"),
        (["sample", "--prompt", "a cat", "--size", "60x61"], "60x61"),
        (["sample"], "nothing to generate"),
        (["inspect"], "file"),
    ],
)
def test_wrong_usage_is_one_error_one_hint_and_exit_code_2(
    cli: Callable[..., Any], arguments: list[str], said: str
) -> None:
    answer = cli(*arguments)
    assert answer.code == 2
    assert answer.out == ""
    error, hint = answer.err.splitlines()
    assert error.startswith("Error: ")
    assert said.lower() in error.lower()
    assert hint.startswith("Hint: ")


def test_a_failure_at_run_time_is_one_error_one_hint_and_exit_code_1(cli: Callable[..., Any]) -> None:
    answer = cli("inspect", "nowhere.safetensors")
    assert answer.code == 1
    assert answer.out == ""
    error, hint = answer.err.splitlines()
    assert error == "Error: there is no file nowhere.safetensors"
    assert hint.startswith("Hint: ")


@pytest.mark.parametrize("name", ["a\nb", "a\r\nb", "a\u2028b", "a\x85b", "a b", "it's"])
def test_a_hint_is_one_line_whatever_names_are_in_it(name: str, cli: Callable[..., Any]) -> None:
    answer = cli("sample", "--prompt", "a cat", "--concept", name)
    error, hint = answer.err.splitlines()
    assert error.startswith("Error: ")
    assert hint.startswith("Hint: ")


@pytest.mark.parametrize("arguments", [["-v", "inspect", "x"], ["inspect", "x", "-v"], ["inspect", "-v", "x"]])
def test_a_traceback_is_shown_with_v_alone_before_or_after_the_verb(
    cli: Callable[..., Any], arguments: list[str]
) -> None:
    assert "Traceback" not in cli("inspect", "x").err
    verbose = cli(*arguments)
    assert "Traceback" in verbose.err
    assert verbose.err.splitlines()[-2].startswith("Error: ")


@pytest.mark.parametrize(
    ("problem", "code", "said"),
    [
        (AtomtuneError("it broke", "mend it"), 1, ["Error: it broke", "Hint: mend it"]),
        (AtomtuneError("it broke"), 1, ["Error: it broke"]),
        (UsageError("one\ntwo", "three"), 2, ["Error: one", "Error: two", "Hint: three"]),
        (Interrupted("stopped", "go on", exit_code=143), 143, ["Error: stopped", "Hint: go on"]),
        (KeyboardInterrupt(), 130, ["Error: interrupted"]),
        (Terminated(), 143, ["Error: interrupted"]),
        (MemoryError(), 1, ["Error: out of memory", "Hint: a smaller --batch-size or --resolution needs less"]),
        (
            OSError(28, "No space left on device", "x"),
            1,
            ["Error: No space left on device: x", f"Hint: {app.TRACEBACK_HINT}"],
        ),
        (ValueError("odd\nvery"), 1, ["Error: ValueError: odd", f"Hint: {app.TRACEBACK_HINT}"]),
        (RuntimeError(), 1, ["Error: RuntimeError: no message", f"Hint: {app.TRACEBACK_HINT}"]),
    ],
)
def test_every_exception_ends_in_a_line_and_an_exit_code(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, problem: BaseException, code: int, said: list[str]
) -> None:
    def describe(_path: Path) -> dict[str, Any]:
        raise problem

    monkeypatch.setattr("atomtune.files.describe.describe", describe)
    answer = cli("inspect", "x")
    assert answer.code == code
    assert answer.out == ""
    assert answer.err.splitlines() == said


def test_json_is_one_object_on_stdout(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"kind": "atoms", "path": Path("a") / "b", "letters": "αλ"}
    monkeypatch.setattr("atomtune.files.describe.describe", lambda _path: facts)
    answer = cli("inspect", "x", "--json")
    assert json.loads(answer.out) == {"kind": "atoms", "path": "a/b", "letters": "αλ"}
    assert answer.err == ""


def test_only_the_first_process_of_several_talks(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("atomtune.files.describe.describe", lambda _path: {"kind": "atoms"})
    done = cli("inspect", "x")
    assert (done.code, done.out, done.err) == (0, "", "")
    wrong = cli("inspect")
    assert (wrong.code, wrong.out, wrong.err) == (2, "", "")


def test_every_process_reports_what_it_alone_may_have_met(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    failed = cli("inspect", "x")
    assert failed.code == 1
    assert failed.err.startswith("Error: there is no file x")


def test_a_closed_pipe_is_no_failure() -> None:
    program = (
        "import sys, atomtune.files.describe as d; d.describe = lambda path: {'kind': 'x' * 100000};"
        "from atomtune.commands.app import main; sys.exit(main(['inspect', 'x']))"
    )
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE, cwd=ROOT, text=True, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_sigterm_ends_a_command_with_143() -> None:
    program = (
        "import os, signal, sys, atomtune.files.describe as d;"
        "d.describe = lambda path: os.kill(os.getpid(), signal.SIGTERM);"
        "from atomtune.commands.app import main; sys.exit(main(['inspect', 'x']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=ROOT, text=True, check=False)
    assert (done.returncode, done.stderr) == (143, "Error: interrupted\n")


def test_the_signal_handler_is_put_back(cli: Callable[..., Any]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    cli("--version")
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_shared_options_do_not_reach_the_function() -> None:
    assert "quiet" not in verb(inspect.inspect).__code__.co_varnames
