"""Concepts of one training are confused less than those of two trainings whose files are added up, on pocket."""

from pathlib import Path

import pytest

from benchmarks.several_concepts import compare


@pytest.mark.slow
def test_one_training_confuses_two_concepts_less_than_two_files_added_up(tmp_path: Path) -> None:
    found = compare(tmp_path / "work")
    together, added = found["one training"], found["two, added up"]
    assert together.confused < added.confused
    assert together.margin > added.margin
