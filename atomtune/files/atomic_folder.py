"""Writing whole folders: a reader sees the old one or the new one, never half of one."""

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .atomic import sync_folder, write_errors
from .temporary import lock_folder, remove_stale_temporaries, temporary_folder

_REPLACED = ".replaced"


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, which takes the place of `path` when the block ends without an exception.

    What `path` held is moved away first and deleted last, so a failure leaves it as it was. Two folders cannot change
    places in one step: after a kill right between the two moves, `restore_replaced` puts the old one back. What killed
    processes left beside `path` is removed.

    Raises AtomtuneError where the folder around `path` cannot be written or the disk is full.
    """
    with write_errors(path):
        target = path.resolve()  # a link keeps its place, what it points to is replaced
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_stale_temporaries(target.parent)
        restore_replaced(target)
        with temporary_folder(target) as temporary:
            made = temporary / "new"
            made.mkdir()  # with the permissions of any new folder; the temporary one is for its owner alone
            yield made
            _sync(made)
            if not target.exists():
                os.rename(made, target)
            else:
                _replace(target, made)
            sync_folder(target.parent)


def restore_replaced(path: Path) -> None:
    """Put back what a killed `new_folder` had moved away from `path`; where `path` is there, delete it instead.

    Raises AtomtuneError where the folder around `path` cannot be written.
    """
    target = path.resolve()
    with write_errors(path):
        for found in sorted(target.parent.glob(f".{glob.escape(target.name)}.*{_REPLACED}")):
            lock = lock_folder(found, wait=False)
            if lock is None:  # another process is just replacing it
                continue
            try:
                old = found / target.name
                if old.is_dir() and not target.exists():
                    os.rename(old, target)
                shutil.rmtree(found, ignore_errors=True)
            finally:
                os.close(lock)


def _replace(target: Path, made: Path) -> None:
    aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=_REPLACED))
    lock = lock_folder(aside, wait=True)
    old = aside / target.name
    try:
        os.rename(target, old)
        try:
            os.rename(made, target)
        except OSError:
            os.rename(old, target)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if lock is not None:
            os.close(lock)


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
        sync_folder(Path(root))
