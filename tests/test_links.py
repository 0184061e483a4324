"""Links in the Markdown files lead somewhere: to files of the repository, and to headings in them."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path
    for folder in (ROOT, ROOT / "docs", ROOT / "prompts", ROOT / "atomtune" / "pocket" / "weights")
    for path in folder.glob("*.md")
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY = PROJECT["urls"]["Repository"]
RAW = REPOSITORY.replace("github.com", "raw.githubusercontent.com")


def prose(path: Path) -> str:
    """The text of a file without its code."""
    text = re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


def targets(path: Path) -> list[str]:
    """Where a file's links lead."""
    text = prose(path)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)$", text, flags=re.MULTILINE)


def headings(path: Path) -> set[str]:
    """The anchors of a file's headings, as GitHub makes them."""
    lines = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


def local(path: Path, target: str) -> Path | None:
    """The file of the repository that a link means, None for another site."""
    for start in (f"{REPOSITORY}/blob/main/", f"{RAW}/main/"):
        if target.startswith(start):
            return ROOT / target.removeprefix(start)
    return None if re.match(r"[a-z]+:", target) else path.parent / target if target else path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_into_the_repository_leads_to_a_file_and_a_heading(path: Path) -> None:
    for target in targets(path):
        place, _, anchor = target.partition("#")
        file = local(path, place)
        if file is not None:
            assert file.exists(), target
            assert not anchor or anchor in headings(file), target


def test_links_of_the_readme_hold_on_pypi_too() -> None:
    readme = ROOT / PROJECT["readme"]
    assert [target for target in targets(readme) if not re.match(r"https://|#", target)] == []
    defined = re.findall(r"^\[([^\]]+)\]: ", prose(readme), flags=re.MULTILINE)
    text = re.sub(r"^\[[^\]]+\]: .*$", "", prose(readme), flags=re.MULTILINE)
    assert sorted(set(re.findall(r"\[([^\]]+)\](?!\()", text))) == sorted(defined)


def test_what_the_project_says_of_itself_agrees() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"repository-code: {REPOSITORY}\n" in citation
    version = (ROOT / "atomtune" / "__init__.py").read_text(encoding="utf-8")
    assert re.search(r'__version__ = "(.+)"', version)[1] == re.search(r"^version: (.+)$", citation, re.MULTILINE)[1]
    assert f"license: {PROJECT['license']}\n" in citation
