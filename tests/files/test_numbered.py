"""Numbered files, by one process and by several."""

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from atomtune.errors import AtomtuneError
from atomtune.files.numbered import write_numbered


def write(folder: Path, text: str, name: str = "{}-x.txt") -> Path:
    return write_numbered(folder, name.format, lambda temporary: temporary.write_text(text))


def test_numbers_go_on_from_what_any_file_has(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert [write(folder, str(i)).name for i in range(2)] == ["00000-x.txt", "00001-x.txt"]
    (folder / "grid-00007.png").touch()
    (folder / "notes 99999.txt").touch()
    assert write(folder, "2", "sheet-{}.txt").name == "sheet-00008.txt"
    (folder / "100000-z.png").touch()
    assert write(folder, "3").name == "100001-x.txt"
    assert (folder / "00001-x.txt").read_text() == "1"
    assert (folder / "00000-x.txt").stat().st_mode & 0o777 == 0o666 & ~os.umask(os.umask(0o022))
    assert len(list(folder.iterdir())) == 7, "no temporary file is left"


def test_a_name_that_is_taken_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x-0").write_text("mine")  # a name whose number cannot be told
    made = write_numbered(tmp_path, lambda number: f"x-{int(number)}", lambda temporary: temporary.write_text("ours"))
    assert made.name == "x-1"
    assert (tmp_path / "x-0").read_text() == "mine"


def test_without_hard_links_nothing_is_overwritten_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "x-0").write_text("mine")
    made = write_numbered(tmp_path, lambda number: f"x-{int(number)}", lambda temporary: temporary.write_text("ours"))
    assert (made.name, made.read_text(), (tmp_path / "x-0").read_text()) == ("x-1", "ours", "mine")
    assert len(list(tmp_path.iterdir())) == 2


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(AtomtuneError, match="No space left"):
        write_numbered(tmp_path, "{}.txt".format, fail)
    assert list(tmp_path.iterdir()) == []


def write_many(folder: str, who: str) -> None:
    for number in range(25):
        write(Path(folder), f"{who} {number}")


def test_several_processes_overwrite_nothing_and_share_no_number(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write_many, args=(str(tmp_path), who)) for who in "abcd"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [f"{number:05d}-x.txt" for number in range(100)]
    assert len({file.read_text() for file in files}) == 100
