"""Temporary folders of writes: none outlives a write, and those of killed processes are removed by the next one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from atomtune.files.atomic import write_atomically, write_text
from atomtune.files.temporary import SUFFIX, is_temporary, remove_stale_temporaries

posix = pytest.mark.skipif(os.name != "posix", reason="needs flock")

WRITER = """
import sys, time
from pathlib import Path
from atomtune.files.atomic import write_atomically
def write(path):
    path.write_text("half")
    (path.parent / "of a library").write_text("half")
    print("writing", flush=True)
    time.sleep(600)
write_atomically(Path(sys.argv[1]), write)
"""


def start_writer(path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


@posix
def test_what_a_killed_write_left_is_removed_by_the_next_write(tmp_path: Path) -> None:
    with start_writer(tmp_path / "a.txt") as process:
        process.send_signal(signal.SIGKILL)
    (left,) = tmp_path.iterdir()
    assert is_temporary(left.name)
    write_text(tmp_path / "b.txt", "whole")
    assert list(tmp_path.iterdir()) == [tmp_path / "b.txt"]


@posix
def test_a_write_in_progress_is_left_alone(tmp_path: Path) -> None:
    with start_writer(tmp_path / "a.txt") as process:
        (mine,) = tmp_path.iterdir()
        write_text(tmp_path / "b.txt", "whole")
        remove_stale_temporaries(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([mine, tmp_path / "b.txt"])
        process.kill()


@posix
def test_only_temporary_folders_are_removed(tmp_path: Path) -> None:
    kept = {".mine.tmp", "mine" + SUFFIX, ".file" + SUFFIX, ".link" + SUFFIX, "elsewhere"}
    for name in (".mine.tmp", "mine" + SUFFIX, "elsewhere", ".stale.ab12" + SUFFIX):
        (tmp_path / name).mkdir()
        (tmp_path / name / "content").write_text("x")
    (tmp_path / (".file" + SUFFIX)).write_text("x")
    (tmp_path / (".link" + SUFFIX)).symlink_to(tmp_path / "elsewhere")
    remove_stale_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept
    assert (tmp_path / "elsewhere" / "content").is_file()


def test_a_folder_that_is_not_there_has_nothing_to_remove(tmp_path: Path) -> None:
    remove_stale_temporaries(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_goes_however_the_block_ends(tmp_path: Path) -> None:
    def stopped(path: Path) -> None:
        (path.parent / "part").mkdir()
        (path.parent / "part" / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "result", stopped)
    assert list(tmp_path.iterdir()) == []


def test_long_names_have_temporary_folders_too(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 120 + ".txt")
    write_text(path, "x")
    assert list(tmp_path.iterdir()) == [path]
