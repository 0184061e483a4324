"""Can folders be written, and is there room? Asked before long work rather than after it."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import AtomtuneError
from .units import size


@dataclass(frozen=True)
class Need:
    """What is going to be written.

    Attributes:
        folder: where to; it need not be there yet.
        bytes: how much.
        hint: how to choose another folder.
    """

    folder: Path
    bytes: int
    hint: str


def check_room(needs: Sequence[Need], least: int = 0) -> None:
    """Raise AtomtuneError where files cannot be put into a folder, or a disk has too few bytes free.

    The needs of folders on one disk are added up; on every disk `least` bytes are to be free in any case. A folder that
    is not there yet is judged by the nearest one above that is. A file is really made, and removed: permissions do not
    tell of a mount that is read-only, a quota, or a user who may do everything.
    """
    disks: dict[int, list[Need]] = {}
    free: dict[int, int] = {}
    for need in needs:
        try:
            existing = next(path for path in (need.folder, *need.folder.parents) if path.exists())
            with tempfile.NamedTemporaryFile(dir=existing, prefix=".atomtune.", suffix=".tmp") as stream:
                stream.write(b"x")
                stream.flush()
            disk = existing.stat().st_dev
            disks.setdefault(disk, []).append(need)
            here = shutil.disk_usage(existing).free
            free[disk] = min(free.get(disk, here), here)  # folders of a disk may have quotas of their own
        except OSError as problem:
            raise AtomtuneError(f"cannot write {need.folder}: {problem.strerror or problem}", need.hint) from problem
    for disk, there in disks.items():
        needed = max(least, sum(need.bytes for need in there))
        if free[disk] < needed:
            folders = " and ".join(str(need.folder) for need in there)
            verb, place = ("needs", "there") if len(there) == 1 else ("together need", "on their disk")
            hints = "; ".join(need.hint for need in there)
            raise AtomtuneError(
                f"{folders} {verb} {size(needed)}, {size(free[disk])} are free {place}", f"make room, or {hints}"
            )
