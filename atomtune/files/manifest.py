"""The manifest of a folder: the files that atomtune wrote there, the only ones that it ever deletes or replaces."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from ..errors import AtomtuneError, excerpt
from .atomic import write_errors, write_text
from .temporary import is_temporary, remove_stale_temporaries

NAME = ".atomtune-files"
"""The manifest itself: one JSON string a line, the path of a file relative to the folder; folders end in "/"."""

_MAX_BYTES = 64_000_000
_NOT_OURS = "move it away, or write to another folder"


class Manifest:
    """The record of one folder. Names are added before the files are written, so that a crash leaves none unrecorded.

    Attributes:
        folder: its folder; need not exist before the first `add`. path: of the manifest itself.
        names: the recorded paths, relative, with "/" between their parts and at the end of folders.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / NAME
        self.names = dict.fromkeys(_read(folder / NAME))

    def __contains__(self, path: Path) -> bool:
        """Whether a path, absolute or relative to the working folder, is recorded as a file or a folder."""
        name = self._name(path)
        return name in self.names or f"{name}/" in self.names

    def add(self, *files: Path) -> None:
        """Record files that are about to be written, and the folders on the way that do not exist yet.

        Raises AtomtuneError, and records nothing, where one of them exists already without being recorded, or where the
        manifest cannot be written.
        """
        names = []
        for path in files:
            if path.is_symlink() or (path.exists() and path not in self):
                raise AtomtuneError(f"{path} was not written by atomtune, so it is not replaced", _NOT_OURS)
            names += [*self._missing(path.parent), self._name(path)]
        self._append(names)

    def add_folder(self, path: Path) -> None:
        """Record a folder that is about to be made; one that exists already is not recorded. Raises as `add`."""
        self._append(self._missing(path))

    def add_tree(self, top: Path) -> None:
        """Record a folder and all files below it, which another library has written. Raises as `add`.

        The caller knows that the folder did not exist before that library wrote it.
        """
        names = [f"{self._name(top)}/"]
        for root, folders, files in os.walk(top):
            names += [f"{self._name(Path(root, folder))}/" for folder in folders if not Path(root, folder).is_symlink()]
            names += [self._name(Path(root, file)) for file in files]
        self._append(names)

    def adopt(self, *files: Path) -> None:
        """Record files that exist and that the caller knows to be ours, as a version without manifests wrote them."""
        self._append(map(self._name, files))

    def take_over(self, other: "Manifest") -> None:
        """Record all that another manifest records, before its files are moved here under the same names.

        Raises as `add`.
        """
        targets = [self.folder / name for name in other.names if not name.endswith("/")]
        self.add(*targets)
        self._append(name for name in other.names if name.endswith("/"))

    def clear(self, keep: Iterable[Path] = ()) -> None:
        """Delete the recorded files but those of `keep`, and recorded folders that are empty then.

        Everything else stays: other files, links, and whatever is behind a link. Raises AtomtuneError where a file
        cannot be deleted.
        """
        kept = {self._name(path) for path in keep}
        files = [name for name in self.names if not name.endswith("/")]
        folders = sorted((name for name in self.names if name.endswith("/")), key=len, reverse=True)
        with write_errors(self.folder):
            remove_stale_temporaries(self.folder)
            for path in [self.folder / name for name in files if name not in kept]:
                if self._is_inside(path) and path.is_file() and not path.is_symlink():
                    path.unlink()
            for path in [self.folder / name for name in folders]:
                if not self._is_inside(path) or not path.is_dir() or path.is_symlink():
                    continue
                remove_stale_temporaries(path)
                if not any(path.iterdir()):
                    path.rmdir()
            # folders with files of others count as theirs from now on
            self.names = {
                n: None for n in self.names if n in kept or (n[-1] == "/" and any(k.startswith(n) for k in kept))
            }
            if self.names:
                write_text(self.folder / NAME, "".join(map(_line, self.names)))
            else:
                (self.folder / NAME).unlink(missing_ok=True)

    def foreign(self) -> list[Path]:
        """Files and links below the folder that are not recorded, sorted; links are not followed."""
        found = []
        for root, folders, files in os.walk(self.folder):
            folders[:] = [name for name in folders if not is_temporary(name)]
            paths = [Path(root, name) for name in files]
            found += [path for path in paths if path.is_symlink() or self._name(path) not in self.names]
            found += [path for name in folders if (path := Path(root, name)).is_symlink()]
        return sorted(path for path in found if path != self.folder / NAME)

    def _name(self, path: Path) -> str:
        return path.absolute().relative_to(self.folder.absolute()).as_posix()

    def _missing(self, path: Path) -> list[str]:
        """The names of a folder and of those above it, below this one, that do not exist."""
        chain = [path, *path.parents]
        return [f"{self._name(p)}/" for p in reversed(chain) if self._is_below(p) and not p.exists()]

    def _is_below(self, path: Path) -> bool:
        return self.folder.absolute() in path.absolute().parents

    def _is_inside(self, path: Path) -> bool:
        """False where a link on the way leads out of the folder."""
        return path.parent.resolve().is_relative_to(self.folder.resolve())

    def _append(self, names: Iterable[str]) -> None:
        new = [name for name in dict.fromkeys(names) if name not in self.names]
        if not new:
            return
        path, text = self.folder / NAME, "".join(map(_line, new))
        if path.is_symlink():
            raise AtomtuneError(f"{path} was not written by atomtune, so it is not replaced", _NOT_OURS)
        if path.exists():
            with write_errors(path), path.open("a", encoding="utf-8") as stream:
                # a torn last line, left by a crash, must not take the next name with it
                stream.write(("" if _ends_line(path) else "\n") + text)
                stream.flush()
                os.fsync(stream.fileno())
        else:
            is_new = not self.folder.exists()
            try:
                write_text(path, text)
            except AtomtuneError:
                if is_new and self.folder.is_dir():  # a full disk leaves no empty folder
                    self.folder.rmdir()
                raise
        self.names |= dict.fromkeys(new)


def _line(name: str) -> str:
    return json.dumps(name) + "\n"


def _ends_line(path: Path) -> bool:
    with path.open("rb") as stream:
        if not stream.seek(0, os.SEEK_END):
            return True
        stream.seek(-1, os.SEEK_END)
        return stream.read() == b"\n"


def _read(path: Path) -> Iterator[str]:
    """The names in a manifest that stay inside its folder; a damaged line is none, as nobody can tell what it named."""
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_BYTES)
    except FileNotFoundError:
        return
    except OSError as problem:
        raise AtomtuneError(
            f"cannot read {path}: {excerpt(problem.strerror or problem)}", "check permissions"
        ) from None
    for line in content.split(b"\n"):
        try:
            name = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(name, str) and _is_relative(name):
            yield name


def _is_relative(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and "\\" not in name and "\0" not in name
