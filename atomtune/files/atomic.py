"""Atomic writes: after a crash, and for every reader, a file is the old one or the new one, never half of one."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import AtomtuneError
from .temporary import remove_stale_temporaries, temporary_folder


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a path in a temporary folder beside `path`, then move the file to its place.

    Temporary folders that killed processes left beside `path` are removed. Raises AtomtuneError where the folder cannot
    be written or the disk is full; the old file stays.
    """
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale_temporaries(path.parent)
        # a folder, as libraries (safetensors) write temporary files of their own beside the file they are given
        with temporary_folder(path) as folder:
            temporary = folder / path.name
            write(temporary)
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
            temporary.chmod(0o666 & ~umask())
            os.replace(temporary, path)
            sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """A context that turns OSError into an AtomtuneError about writing `path`."""
    try:
        yield
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise AtomtuneError(f"cannot write {path}: {reason}", "check free space and permissions") from problem


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to the disk, so that they are there after a power failure."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def umask() -> int:
    """The permissions that new files of this process do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
