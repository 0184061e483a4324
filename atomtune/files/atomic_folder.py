"""Writing whole folders: a reader sees the old one or the new one, never half of one."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import AtomtuneError


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, which takes the place of `path` when the block ends without an exception.

    What `path` held is moved away first and deleted last, so a failure leaves it as it was. (Two folders cannot change
    places in one step: killed right between the two moves, both are left in the hidden temporary folder.)
    Raises AtomtuneError where the folder around `path` cannot be written or the disk is full.
    """
    target = path.resolve()  # a link keeps its place, what it points to is replaced
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp"))
        try:
            made, replaced = workshop / "new", workshop / "old"
            made.mkdir()  # with the permissions of any new folder; mkdtemp's own are for its owner alone
            yield made
            _sync(made)
            if target.exists():
                os.rename(target, replaced)
            try:
                os.rename(made, target)
            except OSError:
                if replaced.exists():
                    os.rename(replaced, target)
                raise
            _sync_folder(target.parent)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise AtomtuneError(f"cannot write {path}: {reason}", "check free space and permissions") from problem


def bytes_in(folder: Path) -> int:
    """Bytes of the files below a folder; links are not followed, what cannot be read does not count."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            file = Path(root, name)
            try:
                total += 0 if file.is_symlink() else file.stat().st_size
            except OSError:  # deleted meanwhile
                continue
    return total


def _sync(folder: Path) -> None:
    for root, _, names in os.walk(folder):
        for name in names:
            with Path(root, name).open("rb+") as stream:
                os.fsync(stream.fileno())
        _sync_folder(Path(root))


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
