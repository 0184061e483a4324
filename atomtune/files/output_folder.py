"""Results in a folder of the user's: what atomtune did not write there is never replaced."""

from collections.abc import Iterable
from pathlib import Path

from ..errors import UsageError
from .manifest import Manifest


def check_replaceable(folder: Path, names: Iterable[str], made_by_0_1: bool = False) -> None:
    """Raise UsageError, with all of them, where results would replace files or links that are not recorded as ours.

    Args:
        names: of the results, in the folder.
        made_by_0_1: that the folder holds what version 0.1 wrote, which kept no record: its files count as ours.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", "--output names another one")
    manifest = Manifest(folder)
    found = [folder / name for name in names]
    foreign = [path for path in found if path.is_symlink() or (path.exists() and path not in manifest)]
    if made_by_0_1 and not manifest.names:
        foreign = [path for path in foreign if path.is_symlink()]
    if foreign:
        listed = ", ".join(path.name for path in foreign)
        raise UsageError(
            f"{folder} holds {listed}, which atomtune did not write and would replace",
            f"move {'it' if len(foreign) == 1 else 'them'} away, or --output names another folder",
        )


def claim(folder: Path, names: Iterable[str], made_by_0_1: bool = False) -> Manifest:
    """Record results that are about to be written into a folder, made if need be. Raises as `check_replaceable`."""
    names = list(names)
    check_replaceable(folder, names, made_by_0_1)
    manifest = Manifest(folder)
    if made_by_0_1 and not manifest.names:
        manifest.adopt(*(folder / name for name in names if (folder / name).exists()))
    manifest.add(*(folder / name for name in names))
    return manifest
