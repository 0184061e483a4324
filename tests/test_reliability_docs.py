"""docs/reliability.md: every row of its tables names a test, and every test that it names exists."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
TEXT = (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)


def rows() -> list[list[str]]:
    """The cells of every row but those of the headings."""
    lines = [line for line in TEXT.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in cells if row[-1] not in ("shown by", "---")]


def test_every_row_names_a_test() -> None:
    assert len(rows()) > 70
    assert [row for row in rows() if len(row) != 3 or "::test_" not in row[2]] == []


def test_every_test_named_is_there() -> None:
    functions: dict[str, set[str]] = {}
    for file in {file for file, _ in NAMED}:
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        functions[file] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert [f"{file}::{name}" for file, name in NAMED if name not in functions[file]] == []
    # a name that the pattern above does not fit would pass unseen
    assert len(NAMED) == TEXT.count("::")


def test_faults_that_have_tests_of_their_own_are_in_the_tables() -> None:
    for file in (
        "training/test_faults.py",
        "training/test_killed.py",
        "training/test_out_of_memory.py",
        "training/test_run_lock.py",
    ):
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) if node.name.startswith("test_")}
        assert tests - {name for _, name in NAMED} <= {"test_remedies_leave_out_what_is_done_already"}
