"""What the documents show works: Python blocks run, commands take the options they have, pages are listed.

A comment before a Python block says what the block needs: `<!-- test: unet -->` names entries of `SETUPS`, `internal`
allows names that are not public, `continues` gives it the names of the block before it, `quick` has it take 2 steps of
each kind and measure drift on two prompts, and `<!-- test: skip, REASON -->` leaves a block out.
"""

import ast
import itertools
import re
import shlex
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

import atomtune.methods
from atomtune.commands.app import app
from atomtune.evaluation import image_sets
from atomtune.methods import METHODS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PUBLIC = {module.__name__: set(getattr(module, "__all__", ())) for module in (atomtune, atomtune.methods)}
COMMANDS = typer.main.get_command(app)


@dataclass(frozen=True)
class Block:
    """A block of code: its page and line, the words of the comment before it, its text."""

    page: Path
    line: int
    words: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


def blocks(language: str) -> list[Block]:
    """The blocks of a language in all pages."""
    found = []
    pattern = rf"(?:<!-- test: (?P<words>[^>]*?) -->\n+)?^(?P<indent> *)```{language}\n(?P<text>.*?)^ *```$"
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(pattern, text, re.DOTALL | re.MULTILINE):
            words = tuple(word.strip() for word in (match["words"] or "").split(",") if word.strip())
            code = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
            found.append(Block(page, text.count("\n", 0, match.start("indent")) + 1, words, code))
    return found


def with_unet(model: Path, names: dict[str, Any]) -> None:
    names["unet"] = load(model).unet


def with_pipeline(model: Path, names: dict[str, Any]) -> None:
    names["pipe"] = load(model)


def with_model(model: Path, names: dict[str, Any]) -> None:
    names["model"] = str(model)


def with_photos(model: Path, names: dict[str, Any]) -> None:
    Path("photos/castle").mkdir(parents=True)
    for number in range(4):
        Image.linear_gradient("L").rotate(30 * number).convert("RGB").save(f"photos/castle/{number}.png")


def load(model: Path) -> Any:
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline.from_pretrained(model)


SETUPS: dict[str, Callable[[Path, dict[str, Any]], None]] = {
    "unet": with_unet,
    "pipe": with_pipeline,
    "model": with_model,
    "photos": with_photos,
}
"""What a block may need, by the word that asks for it; each is given a small base model and the block's names."""


def programs() -> list[list[Block]]:
    """The Python blocks, each with those that continue it."""
    found: list[list[Block]] = []
    for block in blocks("python"):
        if "continues" in block.words:
            found[-1].append(block)
        else:
            found.append([block])
    return found


@pytest.mark.parametrize("program", programs(), ids=lambda program: str(program[0]))
def test_python_blocks_run(
    program: list[Block], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    methods = set(METHODS)
    for block in program:
        if "skip" in block.words:
            pytest.skip(", ".join(word for word in block.words if word != "skip") or "left out by its page")
        if "quick" in block.words:
            monkeypatch.setattr(image_sets, "DRIFT_PROMPTS", image_sets.DRIFT_PROMPTS[:2])
        for word in set(block.words) - {"internal", "continues", "quick"}:
            SETUPS[word](tiny_model, names)
        text = re.sub(r"steps=\d+", "steps=2", block.text) if "quick" in block.words else block.text
        exec(compile(text, str(block), "exec"), names)
    for name in set(METHODS) - methods:
        METHODS.remove(name)


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_blocks_use_public_names(block: Block) -> None:
    if "internal" in block.words:
        return
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names if alias.name.startswith("atomtune")} <= set(PUBLIC)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("atomtune"):
            assert {alias.name for alias in node.names} <= PUBLIC[node.module or ""]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "atomtune":
            assert node.attr in PUBLIC["atomtune"]


def flags(command: Any) -> set[str]:
    """The options of a command."""
    return {"-h", "--help", *(flag for each in command.params for flag in (*each.opts, *each.secondary_opts))}


def commands() -> list[tuple[str, list[str]]]:
    """Every line of a console block that calls atomtune, with the page it is on."""
    found = []
    for block in blocks("console"):
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if "|" in words:
                words = words[: words.index("|")]
            if "atomtune" in words and "-m" in words[: words.index("atomtune")]:  # a launcher's
                words = words[words.index("atomtune") :]
            if words[:1] == ["atomtune"] and not {"…", "..."} & set(words):
                found.append((str(block), words[1:]))
    return found


@pytest.mark.parametrize(("place", "words"), commands(), ids=lambda value: value if isinstance(value, str) else None)
def test_commands_take_the_options_that_they_are_shown_with(
    place: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if words[0].startswith("-"):
        assert words[0] in {option for parameter in COMMANDS.params for option in parameter.opts}
        return
    command: Any = COMMANDS
    context, rest = typer.Context(command, info_name="atomtune"), list(words)
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
        if hasattr(command, "commands"):
            context = typer.Context(command, parent=context, info_name=command.name)
    # names that other trainers have, and former ones, would be taken too
    assert {word.split("=")[0] for word in rest if word.startswith("--")} <= flags(command)
    command.make_context(command.name, rest, parent=context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_options_that_the_text_names_beside_a_command_are_its_own(page: Path) -> None:
    for words in map(str.split, re.findall(r"`atomtune ([^`]+)`", page.read_text(encoding="utf-8"))):
        command: Any = COMMANDS
        for word in itertools.takewhile(lambda word: word[0] not in "-…", words):
            command = getattr(command, "commands", {}).get(word, command)
        assert words[0][0] in "-…" or command is not COMMANDS, words
        assert {word.split("=")[0] for word in words if word.startswith("-")} <= flags(command), words


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    project = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]

    def pages(entries: list[dict[str, Any]]) -> list[str]:
        values = [value for entry in entries for value in entry.values()]
        return [page for value in values for page in ([value] if isinstance(value, str) else pages(value))]

    listed = pages(project["nav"])
    assert len(listed) == len(set(listed))
    folder = ROOT / "docs"
    assert set(listed) == {page.relative_to(folder).as_posix() for page in folder.rglob("*.md")}
