"""The pages of the docs say of the options what the code says."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_tables_of_options_in_the_docs_are_current() -> None:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    pages = reference.pages()
    assert len(pages) > 1
    for path, text in pages.items():
        if path.read_text(encoding="utf-8") != text:
            pytest.fail(f"{path.name} is not current: python docs/reference.py")
