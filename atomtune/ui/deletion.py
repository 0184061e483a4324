"""Deleting a run: what atomtune wrote there, and nothing else."""

from contextlib import suppress
from pathlib import Path

from ..errors import UsageError
from ..files.manifest import Manifest
from ..training.run_folder import RunFolder
from ..training.run_lock import run_lock
from .images import settings_of


def delete_run(path: Path) -> list[Path]:
    """Delete what atomtune wrote into the folder of a run; returns what stays there.

    Raises UsageError where there is no run, AtomtuneError where another process works in the folder.
    """
    if path.is_symlink() or not RunFolder(path).holds_run():
        raise UsageError(f"{path} holds no run", "choose another one")
    with run_lock(path, "ui"):
        for sample in (path / "samples").glob("*.png"):
            if not sample.is_symlink() and "atomtune" in settings_of(sample):
                sample.unlink()
        # folders of other commands have records of their own
        for folder in sorted((inner.parent for inner in path.rglob(Manifest(path).path.name)), reverse=True):
            if not folder.is_symlink() and folder.resolve().is_relative_to(path.resolve()):
                Manifest(folder).clear()
        for folder in sorted((inner for inner in path.rglob("*") if inner.is_dir()), reverse=True):
            with suppress(OSError):
                folder.rmdir()
    left = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else []
    left = [file for file in left if not file.name.startswith(".atomtune.lock")]
    if not left:
        with suppress(OSError):
            for lock in path.glob(".atomtune.lock*"):
                lock.unlink()
            path.rmdir()
    return left
