"""Starting again in a folder that holds a run (`--overwrite`): the old run stays until the new one is complete.

The new run is made in a folder of its own inside the old one's, so that the old atoms can be used until its end, and
`--resume` goes on with it. Then its files take the places of the old ones, the record last; what only the old run had
is deleted. A process that is killed among these moves leaves a finished run behind, whose moves the next one completes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import AtomtuneError
from ..files.store import read_header
from ..runtime.launcher import process_index
from .run_folder import RunFolder

NAME = ".replacement"


def replacement(folder: RunFolder, concept: str | None = None) -> RunFolder:
    """Where a new run, of this concept, is made while the old one stays in `folder`."""
    return RunFolder(folder.path / NAME, concept)


def active(path: Path) -> RunFolder:
    """The run under `path` that `--resume` goes on with: the replacement, where it has come to a checkpoint."""
    folder = RunFolder(path)
    new = replacement(folder)
    is_begun = new.record.is_file() and new.checkpoint.is_file() and not new.is_finished()
    return new if is_begun and not new.path.is_symlink() else folder


def steps_taken(folder: RunFolder) -> int:
    """The step of a run's checkpoint; 0 without one. Raises AtomtuneError where it is damaged."""
    if not folder.checkpoint.is_file():
        return 0
    try:
        return int(read_header(folder.checkpoint)["step"])
    except (KeyError, ValueError):
        raise AtomtuneError(f"{folder.checkpoint} names no step", "start again with --overwrite") from None


@contextmanager
def settled(path: Path) -> Iterator[None]:
    """Before and after the context, the moves of a replacement under `path` that is finished are complete, and one that
    never came to a checkpoint is removed. The first process of a launch sees to that.
    """
    if process_index() != 0:
        yield
        return
    _settle(RunFolder(path))
    try:
        yield
    finally:
        _settle(RunFolder(path))


def _settle(folder: RunFolder) -> None:
    new = replacement(folder)
    if not new.path.is_dir() or new.path.is_symlink():
        return
    if new.record.is_file() and new.is_finished():
        take_place(new, folder)
    elif not new.checkpoint.is_file():
        remove(new)


def take_place(new: RunFolder, old: RunFolder) -> None:
    """Move a finished replacement's files to the places of the old run's, whose other files are deleted.

    Raises AtomtuneError, and leaves both runs as they are, where a file of somebody else is in the way.
    """
    files = [name for name in new.manifest.names if not name.endswith("/")]
    old.manifest.take_over(new.manifest)
    old.manifest.clear(keep=[old.path / name for name in files])
    tops = dict.fromkeys(name.partition("/")[0] for name in new.manifest.names)
    for name in sorted(tops, key=lambda name: name == new.record.name):  # run.json last
        if (new.path / name).exists():
            _move(new.path / name, old.path / name)
    remove(new)


def make_room(home: RunFolder, folder: RunFolder) -> None:
    """Remove an earlier replacement; only now that the model is there, as what fails before must not cost it."""
    if folder.path == home.path:
        remove(replacement(home))
    else:
        remove(folder)
        home.begin(None)  # a run of version 0.1 has no manifest yet
        home.manifest.add_folder(folder.path)


def remove(new: RunFolder) -> None:
    """Delete what a replacement wrote, and its folder where nothing else is in it."""
    new.remove_temporaries()
    new.manifest.clear()
    with suppress(OSError):
        new.path.rmdir()


def _move(source: Path, target: Path) -> None:
    if source.is_dir() and not source.is_symlink() and target.is_dir():
        for path in source.iterdir():
            _move(path, target / path.name)
        source.rmdir()
    else:
        os.replace(source, target)
