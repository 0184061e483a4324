"""Command lines as nobody plans them: options, values, files and folders in every state, one after the other.

Whatever is asked, the answer is a result that is there, or one error and one hint: no traceback, no message of a
library, and no file changed that the program did not write.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open

from atomtune.files.temporary import is_temporary
from hostile import for_all
from made import made_atoms

Cli = Callable[..., Any]

EXAMPLES = 2_000

FOREIGN = ("runs/castle/notes.txt", "out/steps/mine.png", "out/holiday.png", "out/thesis/chapter.tex", "taken")
"""Files of the user's in the places that commands write to."""

ODD_NUMBERS = ("0", "-1", "1e9", "nan", "inf", "x", "", "0.5", "99999999999999999999")
ODD_TEXTS = ("castle", "{", "", "猫", "a\nb", "<lora:x:1>", "<dog>", "x" * 500)
PATHS = st.sampled_from(
    [
        *("out", "out/deeper/still", "taken", "taken/below", "runs/castle", "concepts/castle", ".", "", "no\0name"),
        *(
            "atoms.safetensors",
            "broken.safetensors",
            "empty",
            "missing",
            "/proc/nothing",
            "loop",
            "notes.txt",
            "run.toml",
        ),
        *("concepts/odd", "concepts/none", "concepts/castle/0.png", "MODEL", "damaged-model", "a" * 300, "../outside"),
    ]
)
ODD = st.one_of(st.sampled_from(ODD_NUMBERS), st.sampled_from(ODD_TEXTS), PATHS)


def values(*sound: str) -> st.SearchStrategy[str]:
    """Sound values, and one time in twelve any others."""
    return st.integers(0, 11).flatmap(lambda chance: ODD if chance == 11 else st.sampled_from(sound))


Choices = dict[str, st.SearchStrategy[str] | None]
COUNTS, PROMPTS = values("1", "2", "3"), values("a <castle>", "a {} in snow", "castle")
LEARNED: Choices = {"--scale": values("0.5", "1", "0", "-1"), "--step": values("1", "2")}
OPTIONS: dict[str, Choices] = {
    "train": {
        "--images": values("concepts/castle", "concepts/odd"),
        "--class-noun": values("castle", "house"),
        "--token": values("sks", "zwq"),
        "--prompt": values("a photo of a {}", "<castle>, 猫"),
        "--method": values("atoms", "lora", "bitfit", "textual-inversion"),
        "--preset": values("c1", "c2"),
        "--atoms": values("2", "9"),
        "--tile": values("1", "4"),
        "--layers": values("all", "conv", "attention", "down_blocks.*"),
        "--batch-size": COUNTS,
        "--lr": values("1e-3", "0.1"),
        "--lr-scheduler": values("constant", "cosine"),
        "--resolution": values("32", "40"),
        "--crop": values("center", "random"),
        "--seed": COUNTS,
        "--output": values("out", "out/deeper"),
        "--checkpoint-every": COUNTS,
        "--sample-every": COUNTS,
        "--config": values("run.toml"),
        "--resume": None,
        "--overwrite": None,
        "--dry-run": None,
        "--ema": None,
        "--flip": None,
    },
    "sample": {
        **LEARNED,
        "--prompts": values("notes.txt"),
        "--negative-prompt": values("blurry"),
        "--per-prompt": COUNTS,
        "--seed": COUNTS,
        "--guidance-scale": values("1", "5"),
        "--scheduler": values("ddim", "euler"),
        "--size": values("32", "32x40"),
        "--batch-size": COUNTS,
        "--base": None,
        "--grid": None,
        "--output": values("out", "out/deeper"),
    },
    "merge": {"--scale": values("0.5"), "--precision": values("fp32", "fp16"), "--overwrite": None},
    "export": {
        **LEARNED,
        "--rank": COUNTS,
        "--to": values("diff", "checkpoint", "embedding"),
        "--licence": values("MIT"),
        "--overwrite": None,
    },
    "prepare": {
        "--images": values("concepts/castle", "concepts/odd"),
        "--resolution": values("32", "40"),
        "--output": values("out"),
        "--overwrite": None,
    },
    "decompose": {
        "--preset": values("c1", "c2"),
        "--atoms": values("2", "9"),
        "--tile": values("1", "4"),
        "--overwrite": None,
    },
    "concepts": {"--sheet": None},
}
STATES = ("fresh", "finished", "unfinished", "damaged record", "record only", "file in the way")


@dataclass(frozen=True)
class Workplace:
    """Folders to copy from: a prepared working folder, and runs/castle in some states."""

    folder: Path
    runs: dict[str, Path]
    model: Path


@pytest.fixture(scope="module")
def workplace(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    from atomtune.commands.app import main

    folder = tmp_path_factory.mktemp("workplace")
    images = folder / "concepts" / "castle"
    images.mkdir(parents=True)
    for i in range(4):
        Image.linear_gradient("L").rotate(30 * i).resize((40, 33)).convert("RGB").save(images / f"{i}.png")
    odd = folder / "concepts" / "odd"
    odd.mkdir()
    shutil.copy(images / "0.png", odd / "a b.png")
    shutil.copy(images / "1.png", odd / "a b.PNG")
    (odd / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (odd / "a b.txt").write_text("a {} with a caption", encoding="utf-8")
    (folder / "concepts" / "none").mkdir()
    made_atoms(folder / "atoms.safetensors", tiny_model)
    (folder / "broken.safetensors").write_bytes((folder / "atoms.safetensors").read_bytes()[:1000])
    (folder / "empty").write_bytes(b"")
    (folder / "notes.txt").write_text("a {} on a hill\n\n# no prompt\na <castle>\n", encoding="utf-8")
    (folder / "run.toml").write_text('steps = 2\nbatch-size = 1\nprompt = "a photo of a {}"\n', encoding="utf-8")
    (folder / "loop").symlink_to("loop")
    damaged = shutil.copytree(tiny_model, folder / "damaged-model")
    (damaged / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"no weights")

    runs = tmp_path_factory.mktemp("runs")
    base = ["--model", str(tiny_model), "--device", "cpu", "-q", "--images", str(images), "--preset", "c1"]
    finished, unfinished = runs / "finished", runs / "unfinished"
    assert main(["train", "--concept", "castle", *base, "--steps", "2", "--output", str(finished)]) == 0
    shutil.copytree(finished, unfinished)
    (unfinished / "castle.safetensors").unlink()
    shutil.copytree(finished, runs / "damaged record")
    (runs / "damaged record" / "run.json").write_text('{"options": {"steps"', encoding="utf-8")
    (runs / "record only").mkdir()
    shutil.copy(finished / "run.json", runs / "record only")
    return Workplace(folder, {path.name: path for path in runs.iterdir()}, tiny_model)


@pytest.fixture
def arranged(workplace: Workplace) -> Callable[[str], None]:
    """Fills the present folder, for a state of runs/castle, with files of the user's among it."""

    def arrange(state: str) -> None:
        for path in Path().iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.copytree(workplace.folder, Path(), symlinks=True, dirs_exist_ok=True)
        Path("MODEL").symlink_to(workplace.model, target_is_directory=True)
        if state in workplace.runs:
            shutil.copytree(workplace.runs[state], Path("runs/castle"))
        elif state == "file in the way":
            Path("runs").mkdir()
            Path("runs/castle").write_text("mine", encoding="utf-8")
        for name in FOREIGN:
            path = Path(name)
            if not any(parent.is_file() for parent in path.parents):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"the user's {name}", encoding="utf-8")

    return arrange


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A state of the folder and a command line, without "atomtune"."""
    command = draw(st.sampled_from(sorted(OPTIONS)))
    words = [command]
    if command != "concepts":
        words += ["--model", draw(values("MODEL"))]
    if command in ("train", "sample", "decompose", "export"):
        words += ["--device", "cpu"]
    if command == "export":
        words += ["--no-preview", "--no-weighted", *draw(st.sampled_from([["--rank", "2"], ["--to", "diff"]]))]
    if command in ("train", "prepare"):
        words += ["--concept", draw(values("castle"))]
    if command in ("train", "sample"):
        words += ["--steps", draw(COUNTS)]  # few: it is the answers that are tried here
    if command in ("sample", "merge", "export"):
        learned = {"--atoms": values("atoms.safetensors", "atoms.safetensors:0.5"), "--concept": values("castle")}
        for name in draw(st.sampled_from([["--atoms"], ["--atoms"], ["--concept"], ["--atoms", "--concept"], []])):
            words += [name, draw(learned[name])]
    if command == "sample":
        words += ["--prompt", draw(PROMPTS)]
    if command in ("merge", "export"):
        words += ["--output", draw(values("new", "out", "out/new"))]
    options = {**OPTIONS[command], "--json": None, "-q": None}
    for name in draw(st.lists(st.sampled_from(sorted(options)), max_size=5, unique=True)):
        strategy = options[name]
        words += [name] if strategy is None else [name, draw(strategy)]
    if draw(st.integers(0, 30)) == 30:
        words.append(draw(st.one_of(ODD, st.sampled_from(["--no-such-option", "--stepz", "--", "-x", "extra"]))))
    return draw(st.sampled_from(STATES)), words


def of_the_user() -> Iterator[tuple[Path, bytes]]:
    """Every file below the present folder that no command wrote, with its bytes."""
    for path in sorted(Path().rglob("*")):
        inside_run = path.parts[:2] == ("runs", "castle") and str(path) not in FOREIGN
        if path.is_file() and not path.is_symlink() and "MODEL" not in path.parts and not inside_run:
            yield path, path.read_bytes()


def check_answer(answer: Any, where: str) -> None:
    """A result; or what is wrong, a line for each problem, and one hint. Nothing that steers a terminal."""
    assert "Traceback" not in answer.err, where
    heads = [line.split(":")[0] for line in answer.err.splitlines()]
    if answer.code == 0:
        assert "Error" not in heads, where
        assert answer.out, where
    else:
        assert answer.code in (1, 2), where
        assert heads[-1] == "Hint", where
        assert heads.count("Hint") == 1, where
        assert heads.count("Error") >= 1, where
    assert not any(character in answer.out for character in "\x1b\x07\0\u202e"), where


def check_result(command: str, words: list[str], out: str) -> None:
    """A command that says it succeeded has written what it promises."""
    if "--json" not in words or "--dry-run" in words:
        return
    result = json.loads(out)
    files = {
        "train": lambda: [result["atoms_file"]],
        "sample": lambda: [image["path"] for image in result["images"]],
        "export": lambda: [result["output"]],
        "decompose": lambda: [result["path"]],
    }.get(command, list)()
    for name in files:
        path = Path(name)
        assert path.stat().st_size > 0, name
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                assert list(file.keys())
        elif path.suffix == ".png":
            Image.open(path).load()
    if command == "merge":
        assert (Path(result["output"]) / "model_index.json").is_file()


@pytest.mark.slow
def test_any_command_line_has_a_result_or_an_error_and_loses_nothing(cli: Cli, arranged: Callable[[str], None]) -> None:
    def check(asked: tuple[str, list[str]]) -> None:
        state, words = asked
        arranged(state)
        before = dict(of_the_user())
        answer = cli(*words)
        where = f"{state}: atomtune {' '.join(words)!r}\n{answer.err}"
        check_answer(answer, where)
        for path, content in before.items():
            assert path.is_file(), f"{path} is gone: {where}"
            assert path.read_bytes() == content, f"{path} was changed: {where}"
        assert not [path for path in Path().rglob("*") if is_temporary(path.name)], where
        if answer.code == 0:
            check_result(words[0], words, answer.out)

    for_all(EXAMPLES, check, command_lines())
