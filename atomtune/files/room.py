"""Can a folder be written, and is there room? Asked before long work rather than after it."""

import shutil
import tempfile
from pathlib import Path

from ..errors import AtomtuneError


def check_room(folder: Path, needed: int, hint: str) -> None:
    """Raise AtomtuneError where files cannot be put into `folder`, or fewer than `needed` bytes are free there.

    A folder that is not there yet is judged by the nearest one above that is. A file is really made, and removed:
    permissions do not tell of a mount that is read-only, a quota, or a user who may do everything.
    """
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".atomtune.", suffix=".tmp") as stream:
            stream.write(b"x")
            stream.flush()
        free = shutil.disk_usage(existing).free
    except OSError as problem:
        raise AtomtuneError(f"cannot write {folder}: {problem.strerror or problem}", hint) from problem
    if free < needed:
        raise AtomtuneError(f"{folder} needs {_size(needed)}, {_size(free)} are free there", f"make room, or {hint}")


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
