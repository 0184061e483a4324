"""Results in folders of the user's."""

from pathlib import Path

import pytest

from atomtune.errors import UsageError
from atomtune.files.output_folder import check_replaceable, claim


def test_what_was_claimed_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    claim(tmp_path / "out", ["report.html", "scores.json"])
    (tmp_path / "out" / "report.html").write_text("ours")
    claim(tmp_path / "out", ["report.html", "scores.json"])
    (tmp_path / "out" / "images.csv").write_text("theirs")
    with pytest.raises(UsageError, match=r"out holds images\.csv, which atomtune did not write") as problem:
        claim(tmp_path / "out", ["report.html", "images.csv"])
    assert "--output" in (problem.value.hint or "")


def test_links_are_not_written_through(tmp_path: Path) -> None:
    claim(tmp_path, ["report.html"])
    (tmp_path / "report.html").symlink_to(tmp_path / "mine.html")
    for made_by_0_1 in (False, True):
        with pytest.raises(UsageError, match="report"):
            check_replaceable(tmp_path, ["report.html"], made_by_0_1)


def test_results_of_0_1_count_as_ours_until_there_is_a_record(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("of 0.1")
    with pytest.raises(UsageError):
        claim(tmp_path, ["report.html", "images.csv"])
    claim(tmp_path, ["report.html", "images.csv"], made_by_0_1=True)
    claim(tmp_path, ["report.html", "images.csv"])
    (tmp_path / "scores.json").write_text("theirs")
    with pytest.raises(UsageError, match=r"scores\.json"):
        claim(tmp_path, ["scores.json"], made_by_0_1=True)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("theirs")
    with pytest.raises(UsageError, match="is not a folder"):
        check_replaceable(tmp_path / "out", ["a"])
