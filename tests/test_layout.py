"""The order of the packages: a file imports from its own package and from those before it, from no other.

Read from the syntax trees, so lazy imports count too.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import atomtune

PACKAGE = Path(atomtune.__file__).parent
ORDER = (
    "errors",
    "core",
    "pocket",
    "adapt",
    "runtime",
    "report",
    "data",
    "methods",
    "files",
    "models",
    "doctor",
    "sampling",
    "export",
    "training",
    "api",
    "evaluation",
    "captioning",
    "vision",
    "publish",
    "compare",
    "serve",
    "fleet",
    "demo",
    "ui",
    "commands",
    "__main__",
)
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def imported_parts(path: Path) -> Iterator[str]:
    """The parts of the package that a file imports: "core", "files", …"""
    package = ["atomtune", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            anchor = package[: len(package) - node.level + 1] if node.level else []
            module = anchor + (node.module.split(".") if node.module else [])
            names = [module + [alias.name] for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] == "atomtune" and len(name) > 1 and name[1] != "__version__":
                yield name[1]


def later_parts(path: Path) -> set[str]:
    """The parts that a file imports although they come after its own."""
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return {part for part in imported_parts(path) if ORDER.index(part) > ORDER.index(own)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_down_the_order_of_packages(path: Path) -> None:
    assert not later_parts(path)


def test_an_import_against_the_order_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "core").mkdir()
    path = tmp_path / "core" / "rows.py"
    path.write_text(
        "from ..errors import UsageError\n\n\ndef f():\n    from ..training.train import train\n", encoding="utf-8"
    )
    assert later_parts(path) == {"training"}


def test_every_part_of_the_package_has_its_place_in_the_order() -> None:
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert parts == set(ORDER)


def test_contributors_are_told_this_order() -> None:
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split("| package |")[1].split("\n\n")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == ORDER[:-1]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


def test_the_maths_knows_torch_only() -> None:
    allowed = {"torch", "atomtune"}
    for path in (PACKAGE / "core").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            foreign = {name.split(".")[0] for name in names} & {
                "numpy",
                "PIL",
                "diffusers",
                "transformers",
                "safetensors",
            }
            assert not foreign - allowed, path
