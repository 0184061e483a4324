"""Whole folders, written beside and moved into place."""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from atomtune.errors import AtomtuneError
from atomtune.files.atomic_folder import bytes_in, new_folder, restore_replaced
from atomtune.files.temporary import lock_folder


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b"
    with new_folder(target) as folder:
        (folder / "file").write_text("new")
        assert not target.exists()
    assert contents(target) == {"file": "new"}
    assert list(target.parent.iterdir()) == [target]
    assert target.stat().st_mode & 0o777 == 0o777 & ~os.umask(os.umask(0o022))


def test_an_old_folder_is_replaced_as_a_whole_and_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "old").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with new_folder(tmp_path / "link") as folder:
        (folder / "new").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert contents(tmp_path / "real") == {"new": "new"}


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), ValueError("x")])
def test_what_breaks_off_leaves_the_old_folder_and_no_litter(tmp_path: Path, problem: BaseException) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "old").write_text("old")

    def write() -> None:
        with new_folder(tmp_path / "target") as folder:
            (folder / "new").write_text("new")
            raise problem

    with pytest.raises(type(problem)):
        write()
    assert contents(tmp_path) == {"old": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_failed_move_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "old").write_text("old")
    move = os.rename

    def rename(source: Any, target: Any) -> None:
        if Path(source).name == "new":
            raise OSError(5, "Input/output error")
        move(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(AtomtuneError, match="Input/output error"), new_folder(tmp_path / "target"):
        pass
    assert contents(tmp_path) == {"old": "old"}


def write_and_die(target: Path, moves: int) -> None:
    """Replace a folder, and be killed after so many moves; -1 is before the folder is complete."""
    done = 0
    move = os.rename

    def rename(source: Any, destination: Any) -> None:
        nonlocal done
        move(source, destination)
        done += 1
        if done == moves:
            os.kill(os.getpid(), signal.SIGKILL)

    os.rename = rename
    with new_folder(target) as folder:
        (folder / "new").write_text("new")
        if moves < 0:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("moves", [-1, 1, 2])
def test_a_kill_at_any_moment_loses_nothing_and_leaves_nothing(tmp_path: Path, moves: int, again: bool) -> None:
    target = tmp_path / "tar[get]"
    target.mkdir()
    (target / "old").write_text("old")
    child = multiprocessing.get_context("fork").Process(target=write_and_die, args=(target, moves))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert target.exists() == (moves != 1)
    assert any(path.name.startswith(".") for path in tmp_path.iterdir())
    if again:
        with new_folder(target) as folder:
            expected = {"new": "new"} if moves == 2 else {"old": "old"}
            assert contents(target) == expected, "the old folder is back before anything is written"
            (folder / "newer").write_text("newer")
        assert contents(tmp_path) == {"newer": "newer"}
        assert list(tmp_path.iterdir()) == [target]
    else:
        restore_replaced(target)
        assert contents(target) == ({"new": "new"} if moves == 2 else {"old": "old"})


def test_what_another_process_is_just_replacing_is_left_to_it(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").write_text("old")
    aside = tmp_path / ".target.abc.replaced"
    aside.mkdir()
    (aside / "target").mkdir()
    lock = lock_folder(aside, wait=True)
    assert lock is not None
    restore_replaced(target)
    assert aside.exists()
    os.close(lock)
    restore_replaced(target)
    assert not aside.exists()
    assert contents(target) == {"old": "old"}


def test_sizes_leave_links_out(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"12345")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a" / "b" / "file")
    assert bytes_in(tmp_path / "a") == 5
    assert bytes_in(tmp_path / "nowhere") == 0
