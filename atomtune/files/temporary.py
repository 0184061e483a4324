"""Temporary folders beside the files that are written, and the removal of those that killed processes left behind."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows, where nothing is removed but by its own process
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".atomtune.tmp"
"""The end of the name of every temporary folder; nothing else is called so."""

_NAME_LENGTH = 40  # characters of the target's name, so that the whole name stays below 255 bytes


@contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside `target`, which must have a parent folder; removed, with all in it, when the block ends.

    It is locked by the system for as long as the process uses it, so that `remove_stale_temporaries` of another process
    leaves it alone. Raises OSError where it cannot be made.
    """
    folder, lock = _locked_folder(target)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def remove_stale_temporaries(folder: Path) -> None:
    """Remove the temporary folders directly in a folder whose processes are gone; those in use stay."""
    try:
        with os.scandir(folder) as entries:
            found = [Path(e.path) for e in entries if is_temporary(e.name) and e.is_dir(follow_symlinks=False)]
    except OSError:  # no such folder, or one that cannot be listed
        return
    for path in found:
        lock = lock_folder(path, wait=False)
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def is_temporary(name: str) -> bool:
    """Whether a file name is that of a temporary folder of `temporary_folder`."""
    return name.startswith(".") and name.endswith(SUFFIX)


def _locked_folder(target: Path) -> tuple[Path, int | None]:
    while True:
        prefix = f".{target.name[:_NAME_LENGTH]}."
        folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=prefix, suffix=SUFFIX))
        if fcntl is None:
            return folder, None
        lock = lock_folder(folder, wait=True)
        if folder.exists():  # else another process took it for stale before it was locked
            return folder, lock
        if lock is not None:
            os.close(lock)


def lock_folder(folder: Path, wait: bool) -> int | None:
    """An open descriptor that holds the lock of a folder; None where it is in use, gone, or cannot be locked."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # in use, or a file system without locks
        os.close(descriptor)
        return None
    return descriptor
