"""Places that take no files, or too few bytes: known beforehand, and survived where it happens later."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from atomtune.errors import AtomtuneError
from atomtune.files import store
from atomtune.files.atomic import write_text
from atomtune.runtime.disk_space import DiskNeed, check_disk_space

HINT = "--output names another folder"


def test_good_places_stay_as_they_are(tmp_path: Path) -> None:
    check_disk_space([DiskNeed(tmp_path, 1000, HINT), DiskNeed(tmp_path / "runs" / "castle", 1000, HINT)])
    assert not list(tmp_path.iterdir())


def test_a_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AtomtuneError, match=r"cannot write .*castle: Not a directory") as refused:
        check_disk_space([DiskNeed(tmp_path, 0, "another"), DiskNeed(tmp_path / "file" / "castle", 0, HINT)])
    assert refused.value.hint == HINT


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_file_system_that_takes_no_files() -> None:
    with pytest.raises(AtomtuneError, match="cannot write /proc/castle: "):
        check_disk_space([DiskNeed(Path("/proc/castle"), 0, HINT)])


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind root")
def test_a_folder_of_somebody_elses(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(AtomtuneError, match=r"cannot write .*castle: Permission denied"):
            check_disk_space([DiskNeed(tmp_path / "castle", 0, HINT)])
    finally:
        tmp_path.chmod(0o700)


def test_more_than_any_disk_has(tmp_path: Path) -> None:
    with pytest.raises(AtomtuneError, match=r"castle needs 1000000000\.0 GB, [\d.]+ [GM]B are free there") as refused:
        check_disk_space([DiskNeed(tmp_path / "castle", 10**18, HINT)])
    assert refused.value.hint == f"free some space, or {HINT}"
    with pytest.raises(AtomtuneError, match=r"castle needs 1000000000\.0 GB"):
        check_disk_space([DiskNeed(tmp_path / "castle", 0, HINT)], least=10**18)


def test_folders_on_one_disk_share_its_room(tmp_path: Path) -> None:
    most = 6 * shutil.disk_usage(tmp_path).free // 10
    run, cache = DiskNeed(tmp_path / "run", most, HINT), DiskNeed(tmp_path / "cache", most, "another cache")
    check_disk_space([run])
    check_disk_space([cache])
    with pytest.raises(AtomtuneError, match=r"run and .*cache together need .*B are free on their disk") as refused:
        check_disk_space([run, cache])
    assert refused.value.hint == f"free some space, or {HINT}; another cache"


def test_folders_on_two_disks_do_not(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev or not os.access(other, os.W_OK):
        pytest.skip("needs a second disk")
    check_disk_space([DiskNeed(place, 6 * shutil.disk_usage(place).free // 10, HINT) for place in (tmp_path, other)])


@pytest.mark.parametrize(
    "write",
    [
        lambda path: store.save(path, "atoms", {"a": torch.zeros(10_000)}, {}),
        lambda path: write_text(path, "x" * 10_000),
    ],
    ids=["safetensors", "text"],
)
def test_a_write_that_the_system_refuses_leaves_the_old_file(tmp_path: Path, write: Callable[[Path], object]) -> None:
    limits = pytest.importorskip("limits")
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with limits.largest_file(4096), pytest.raises(AtomtuneError, match=r"cannot write .*file: .*[Ff]ile too large"):
        write(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
