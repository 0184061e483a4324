"""Files that are numbered on within a folder: none is overwritten, whoever else writes there at the same time."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from .atomic import sync_folder, umask, write_errors
from .temporary import lock_folder, remove_stale_temporaries, temporary_folder

_NUMBER = re.compile(r"(?:[a-z]+-)?(\d{5,})(?!\d)")


def write_numbered(folder: Path, name: Callable[[str], str], write: Callable[[Path], object]) -> Path:
    """Write a file under the next free number of a folder, whole or not at all; returns its path.

    A number that any file of the folder has is not given again.

    Args:
        name: gives the file's name from its number, five digits or more ("00012"), which stands at its start or after
            a word and a hyphen ("grid-00012.png").
        write: writes the content to a path.

    Raises AtomtuneError where the folder cannot be written or the disk is full.
    """
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        remove_stale_temporaries(folder)
        with temporary_folder(folder / "numbered") as place:
            temporary = place / "file"
            write(temporary)
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
            temporary.chmod(0o666 & ~umask())
            path = _numbered(folder, name, temporary)
        sync_folder(folder)
        return path


def _numbered(folder: Path, name: Callable[[str], str], temporary: Path) -> Path:
    # two processes do not look for a number at the same time; where there are no locks, names still differ
    lock = lock_folder(folder, wait=True)
    try:
        number = max(_numbers(folder), default=-1) + 1
        while True:
            path = folder / name(f"{number:05d}")
            with suppress(FileExistsError):
                _put(temporary, path)
                return path
            number += 1
    finally:
        if lock is not None:
            os.close(lock)


def _numbers(folder: Path) -> Iterator[int]:
    for entry in os.scandir(folder):
        if found := _NUMBER.match(entry.name):
            yield int(found[1])


def _put(temporary: Path, path: Path) -> None:
    """Give a file its name. Raises FileExistsError where something else has it."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(temporary, path)
