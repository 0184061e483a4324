"""One run folder, one writer: a lock that the system takes back when its process ends, however it ends."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import AtomtuneError, UsageError, excerpt
from ..files.atomic import write_text
from ..files.untrusted_json import parse_json
from ..runtime.launcher import process_index

LOCK, NOTE = ".atomtune.lock", ".atomtune.lock.json"

_ATTEMPTS = 5


@contextmanager
def run_lock(folder: Path, command: str = "train") -> Iterator[None]:
    """Hold the folder of a run, or of a command's results, made if need be.

    Of the processes of one launch, the first holds it for all.

    A note beside the lock says who holds it. It is for showing only: the system's lock decides, so a note left by a
    process that was killed keeps nobody out. Folders made here in which nothing was written are taken away again.

    Raises AtomtuneError where another process holds the folder or it cannot be written, UsageError where it is none.
    """
    # asked before accelerate is set up, which must not happen where the folder is taken
    if process_index() != 0:
        yield
        return
    lock, made = _acquire(folder)
    try:
        note = {
            "command": command,
            "process": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now().astimezone().isoformat(),
        }
        write_text(folder / NOTE, json.dumps(note) + "\n")
        yield
    finally:
        with suppress(OSError):
            (folder / NOTE).unlink(missing_ok=True)
            if made and [path.name for path in folder.iterdir()] == [LOCK]:
                (folder / LOCK).unlink()  # still held: whoever waits for this very file looks again, see _acquire
                for path in made:
                    path.rmdir()  # a parent in which something else appeared meanwhile stays
        lock.release()


def in_use(folder: Path, note: str, now: datetime) -> AtomtuneError:
    """What to tell a process that comes second. `note` is the holder's, perhaps empty or cut short."""
    command = "train"
    try:
        facts = parse_json(note)
        command = excerpt(facts.get("command", command), 20)
        since = datetime.fromisoformat(facts["since"]).astimezone(now.tzinfo)
        shown = f"{since:%H:%M}" if since.date() == now.date() else f"{since:%Y-%m-%d %H:%M}"
        holder = f" (process {int(facts['process'])} on {excerpt(facts['host'], 64)}, since {shown})"
    except (ValueError, TypeError, LookupError, OverflowError, AttributeError):
        holder = ""
    return AtomtuneError(
        f"{folder} is in use by another atomtune {command}{holder}", "wait for it, or --output names another folder"
    )


def _acquire(folder: Path) -> tuple[FileLock, list[Path]]:
    """The lock, held, and the folders that were made for it, the innermost first."""
    lock = FileLock(folder / LOCK)
    for _ in range(_ATTEMPTS):
        try:
            made = [path for path in (folder, *folder.parents) if not path.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # another process has just taken its empty folder away
                lock.acquire(blocking=False)
                if (folder / LOCK).exists():
                    return lock, made
                lock.release()
        except Timeout:
            note = folder / NOTE
            raise in_use(folder, _text(note), datetime.now().astimezone()) from None
        except FileExistsError:
            raise UsageError(f"{folder} is not a folder", "--output names another one") from None
        except OSError as problem:
            raise _unwritable(folder, problem.strerror or str(problem)) from problem
    raise _unwritable(folder, "it vanishes as soon as it is made")


def _unwritable(folder: Path, reason: str) -> AtomtuneError:
    return AtomtuneError(f"cannot write {folder}: {reason}", "check permissions, or --output names another folder")


def _text(note: Path) -> str:
    if not note.is_file():
        return ""
    try:
        with note.open(encoding="utf-8", errors="replace") as stream:
            return stream.read(1000)
    except OSError:
        return ""
