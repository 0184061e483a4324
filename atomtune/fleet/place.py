"""Where a fleet's files are: a folder, or an address of fsspec (s3://, gs://, memory://, …)."""

from pathlib import Path
from typing import Any

from ..errors import AtomtuneError, UsageError, excerpt
from ..files.atomic import write_atomically

_WHOLE = {"s3", "s3a", "gs", "gcs", "az", "abfs", "adl", "oss", "memory"}
"""Protocols whose files appear when they are whole."""


class Place:
    """A folder by its address.

    Attributes:
        folder: where it is on this machine's disks; None for others.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.folder = None if "://" in address else Path(address)
        self._files: Any = None
        if self.folder is None:
            from fsspec.core import url_to_fs

            try:
                self._files, self._root = url_to_fs(address)
            except (ImportError, ValueError) as problem:
                raise UsageError(
                    f"{excerpt(address)} cannot be reached: {excerpt(problem)}",
                    "pip install s3fs for s3://, gcsfs for gs://",
                ) from None

    def read(self, name: str) -> bytes | None:
        """A file's content; None where it is not there."""
        try:
            if self.folder is not None:
                return (self.folder / name).read_bytes()
            content: bytes = self._files.cat_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return None
        return content

    def exists(self, name: str) -> bool:
        """Whether a file is there; asked anew each time."""
        if self.folder is not None:
            return (self.folder / name).exists()
        self._files.invalidate_cache()
        return bool(self._files.exists(f"{self._root}/{name}"))

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole. Raises AtomtuneError where a folder cannot be written, else what the protocol raises."""
        if self.folder is not None:
            write_atomically(self.folder / name, lambda temporary: temporary.write_bytes(content))
            return
        path = f"{self._root}/{name}"
        protocols = {self._files.protocol} if isinstance(self._files.protocol, str) else set(self._files.protocol)
        if protocols & _WHOLE:
            self._files.pipe_file(path, content)
            return
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._files.pipe_file(f"{path}.part", content)
        self._files.mv(f"{path}.part", path)

    def remove(self, name: str) -> None:
        """Remove a file of the fleet's own, if it is there."""
        if self.folder is not None:
            (self.folder / name).unlink(missing_ok=True)
        elif self.exists(name):
            self._files.rm_file(f"{self._root}/{name}")

    def fetch(self, name: str, folder: Path) -> int:
        """Copy the files below `name` to a folder; returns how many there were.

        Raises AtomtuneError for a name that leads out of the folder.
        """
        assert self._files is not None
        base = f"{self._root}/{name}".rstrip("/")
        self._files.invalidate_cache()
        found = self._files.find(base) if self._files.exists(base) else []
        for path in found:
            inner = path[path.index(base) + len(base) :].strip("/")
            if not inner or ".." in Path(inner).parts:
                raise AtomtuneError(f"{excerpt(path)} cannot be copied", "rename it")
            target = folder / inner
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self._files.cat_file(path))
        return len(found)
