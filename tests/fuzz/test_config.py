"""--config files that anybody may have written: values that an option can have, or a list of what is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from atomtune.commands.export import ExportOutput
from atomtune.commands.merge import MergeOutput
from atomtune.commands.options.config_file import read_config
from atomtune.commands.options.groups import SourceOptions
from atomtune.export.options import ExportOptions, MergeOptions
from atomtune.runtime.option import Option
from atomtune.runtime.options import options_of
from atomtune.sampling.options import SampleOptions
from atomtune.training.options import TrainOptions
from hostile import budgets, check_answer, for_all, refusal, refused

CLASSES = {
    "train": [TrainOptions],
    "sample": [SourceOptions, SampleOptions],
    "merge": [SourceOptions, MergeOptions, MergeOutput],
    "export": [SourceOptions, ExportOptions, ExportOutput],
}
OPTIONS: dict[str, list[Option]] = {
    command: [option for cls in classes for option in options_of(cls)] for command, classes in CLASSES.items()
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run.toml"


def check_read(file: Path, command: str) -> None:
    """Read a file for a command; what comes of it are values that its options can have."""

    def read() -> None:
        known = {option.path: option for option in OPTIONS[command]}
        for path, value in read_config(file, OPTIONS[command]).values.items():
            option = known[path]
            if option.read is not None:
                continue  # whatever it is, it is checked where it is read
            assert option.many == isinstance(value, tuple)
            for item in value if isinstance(value, tuple) else [value]:
                assert isinstance(item, str | int | float), path
                assert not isinstance(item, int) or abs(item) < 2**63
                assert item == item, "NaN is no value"

    refusal(read)


KEYS = st.sampled_from(sorted({option.name for options in OPTIONS.values() for option in options} | {"data", "spec"}))
LITERALS = st.recursive(
    st.sampled_from(
        [
            *("0", "-1", "+7", "1_000", "9" * 4000, "9" * 5000, "0x" + "f" * 20, "0x" + "f" * 20_000, "0b1", "1e400"),
            *("nan", "-nan", "inf", "-inf", "1.5", "true", "false", "yes", "1979-05-27", "07:32:00", "9999-99-99"),
            *("1979-05-27T07:32:00Z", "1979-05-27T07:32:00+99:99", '""', '"\\u0000"', '"\\ud800"', "'''a\n\x1b[2Jb'''"),
            *('"c2"', '"fp16"', '"pocket"', '"../../etc/passwd"', '"' + "x" * 5000 + '"', "[" * 2000, "{a.b.c=1}", ""),
        ]
    )
    | st.integers().map(str)
    | st.floats().map(repr)
    | st.text(max_size=20).map(json.dumps),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
    max_leaves=4,
)
LINES = st.one_of(
    st.tuples(KEYS | st.text(max_size=12), LITERALS).map(" = ".join),
    st.tuples(KEYS, st.text(max_size=5), LITERALS).map(lambda parts: f"{parts[0]}.{parts[1]} = {parts[2]}"),
    KEYS.map("[{}]".format),
    KEYS.map("[[{}]]".format),
    st.text(max_size=20),
)


@budgets(80)
def test_any_text(file: Path, examples: int) -> None:
    def check(content: bytes, command: str) -> None:
        file.write_bytes(content)
        check_read(file, command)

    for_all(examples, check, st.binary() | st.text().map(str.encode), st.sampled_from(sorted(OPTIONS)))


@budgets(150)
def test_any_lines(file: Path, examples: int) -> None:
    def check(lines: list[str], command: str) -> None:
        file.write_bytes("\n".join(lines).encode())
        check_read(file, command)

    for_all(examples, check, st.lists(LINES, max_size=5), st.sampled_from(sorted(OPTIONS)))


@budgets(80)
def test_any_value_of_any_option(file: Path, examples: int) -> None:
    def check(key: str, literal: str, command: str) -> None:
        file.write_bytes(f"{key} = {literal}".encode())
        check_read(file, command)

    for_all(examples, check, KEYS, LITERALS, st.sampled_from(sorted(OPTIONS)))


ATTACKS: dict[str, str] = {
    "lists nested deep": "steps = " + "[" * 30_000,
    "tables nested deep": "steps = " + "{a = " * 10_000,
    "a key of 20,000 parts": "a." * 20_000 + "a = 1",
    "a key of 20,000 quoted parts": '"\u2028".' * 10_000 + "a = 1",
    "a header of 20,000 parts": "[" + "a." * 20_000 + "a]",
    "a table under an option": "steps" + ".a" * 900 + " = 1",
    "5000 digits": "steps = " + "9" * 5000,
    "20,000 hexadecimal digits": "steps = 0x" + "f" * 20_000,
    "a list of long numbers": "prompt = [0x" + "f" * 20_000 + "]",
    "a number beyond 64 bits": "seed = 9223372036854775808",
    "not a number": "lr = nan",
    "a date": "steps = 1979-05-27",
    "a date that is none": "steps = 9999-99-99",
    "NUL in a path": 'output = "a\\u0000b"',
    "lines in a key": '"a\\nError: b" = 1',
    "a key that steers the terminal": '"\\u001b[2J" = 1',
    "lines in a value": 'steps = "a\\nHint: b"',
    "a key of 60,000 characters": "x" * 60_000 + " = 1",
    "thousands of keys": "".join(f"k{number} = 1\n" for number in range(5000)),
    "a file of 65 kB": "#" * 65_000,
    "no UTF-8": "\udcff",
}


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS.keys())
def test_texts_that_attack(file: Path, text: str) -> None:
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert refused(read_config, file, [*OPTIONS["train"], *OPTIONS["sample"]]).exit_code == 2


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs an endless file")
def test_an_endless_file_is_refused() -> None:
    assert "bytes" in refused(read_config, Path("/dev/zero"), OPTIONS["train"]).message


@budgets(25)
def test_the_command_line_answers_with_errors_and_a_hint(cli: Callable[..., Any], examples: int) -> None:
    def check(lines: list[str]) -> None:
        Path("run.toml").write_bytes("\n".join(lines).encode())
        # there are no such atoms: it must fail, whatever the file says
        answer = cli("merge", "--config", "run.toml", "--atoms", "nowhere.safetensors", "-q")
        assert answer.code in (1, 2)
        assert answer.err.splitlines()[-1].startswith("Hint: ")
        assert all(line.startswith("Error: ") for line in answer.err.splitlines()[:-1])
        assert "Traceback" not in answer.err
        assert not any(character in answer.err for character in "\x1b\0")

    for_all(examples, check, st.lists(LINES, max_size=3))


@pytest.mark.parametrize(
    "text", ["lr = nan", "seed = 9223372036854775808", 'output = "a\\u0000b"', "steps = " + "[" * 30_000]
)
def test_what_is_wrong_shows_on_the_command_line(cli: Callable[..., Any], text: str) -> None:
    Path("run.toml").write_text(text, encoding="utf-8")
    answer = cli("train", "--concept", "castle", "--config", "run.toml")
    check_answer(answer)
    assert answer.code == 2
