"""A file imports only from its own floor or below (read from the syntax trees, so lazy imports count too)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import atomtune

PACKAGE = Path(atomtune.__file__).parent
FLOORS = [
    {"errors", "units", "core"},
    {"adapt", "methods", "files"},
    {"diffusion", "evaluate", "pocket", "compare"},
    {"commands"},
]
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__")


def floor_of(part: str) -> int:
    return next(number for number, parts in enumerate(FLOORS) if part in parts)


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


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_stay_on_their_floor_or_below(path: Path) -> None:
    own = floor_of(path.relative_to(PACKAGE).parts[0].removesuffix(".py"))
    above = {part for part in imported_parts(path) if floor_of(part) > own}
    assert not above


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
