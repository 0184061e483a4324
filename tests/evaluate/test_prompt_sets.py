"""Where the packaged prompt sets are found."""

import importlib
from pathlib import Path

import pytest

import atomtune
from atomtune.commands.evaluate import DEFAULT_PROMPTS
from atomtune.errors import UsageError
from atomtune.evaluate.prompt_sets import prompt_set

ROOT = Path(atomtune.__file__).parents[1]


def test_a_checkout_holds_them_beside_the_package() -> None:
    assert prompt_set(DEFAULT_PROMPTS) == ROOT / "prompts" / DEFAULT_PROMPTS
    assert "{}" in prompt_set(DEFAULT_PROMPTS).read_text(encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, with atomtune in it and no prompts yet."""
    folder = tmp_path / "lib" / "site-packages"
    (folder / "atomtune").mkdir(parents=True)
    (folder / "atomtune-0.1.0.dist-info").mkdir()
    (folder / "atomtune-0.1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: atomtune\nVersion: 0\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(atomtune, "__file__", str(folder / "atomtune" / "__init__.py"))
    return folder


def listed(site: Path, *files: str) -> None:
    """Write the installer's list."""
    lines = [f"{file},," for file in ("atomtune/__init__.py", *files)]
    (site / "atomtune-0.1.0.dist-info" / "RECORD").write_text("\n".join(lines) + "\n")
    importlib.invalidate_caches()


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text("a {}\n")
    return path


def test_an_installation_holds_them_where_its_list_says(site: Path, tmp_path: Path) -> None:
    path = put(tmp_path / "share" / "atomtune" / "prompts" / "some.txt")
    listed(site, "../../share/atomtune/prompts/some.txt")
    assert prompt_set("some.txt") == path


def test_an_installation_that_was_moved(site: Path) -> None:
    path = put(site / "share" / "atomtune" / "prompts" / "some.txt")
    listed(site, "../../share/atomtune/prompts/some.txt")
    assert prompt_set("some.txt") == path


def test_an_installation_without_them(site: Path) -> None:
    listed(site)
    with pytest.raises(UsageError, match=r"some\.txt is not installed") as refused:
        prompt_set("some.txt")
    assert "--prompts" in (refused.value.hint or "")
