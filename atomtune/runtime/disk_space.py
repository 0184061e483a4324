"""Checks before long work: folders can be written, and their disks have enough free space."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import AtomtuneError
from .units import size


@dataclass(frozen=True)
class DiskNeed:
    """Disk space that will be needed.

    Attributes:
        folder: where files will be written; it need not exist yet.
        bytes: their size.
        hint: how to choose another folder.
    """

    folder: Path
    bytes: int
    hint: str


def check_disk_space(needs: Sequence[DiskNeed], least: int = 0) -> None:
    """Raise AtomtuneError where a folder cannot be written, or its disk has too little free space.

    The needs of folders on one disk are added up; every disk needs at least `least` free bytes. For a folder that does
    not exist yet, the nearest existing parent is checked. A file is really written, and removed: permissions do not
    show a read-only mount or a quota, and root passes all of them.
    """
    disks: dict[int, list[DiskNeed]] = {}
    free: dict[int, int] = {}
    for need in needs:
        try:
            existing = next(path for path in (need.folder, *need.folder.parents) if path.exists())
            with tempfile.TemporaryFile(dir=existing) as stream:  # without a name, so nothing can be left
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
                f"{folders} {verb} {size(needed)}, {size(free[disk])} are free {place}", f"free some space, or {hints}"
            )
