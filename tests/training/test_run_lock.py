"""Two runs in one folder: the second is told of the first, and touches nothing."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

import atomtune
from atomtune.errors import AtomtuneError, UsageError
from atomtune.training.accelerator import check_launch
from atomtune.training.options import TrainOptions
from atomtune.training.run_lock import LOCK, NOTE, in_use, run_lock
from atomtune.training.train import train

HOLDER = """
import sys
from pathlib import Path
from atomtune.training.run_lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds the folder."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    root = Path(atomtune.__file__).parents[1]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in (LOCK, NOTE)]
    return {str(path): path.read_bytes() for path in files}


def test_the_second_is_told_of_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "castle"
    with held(folder) as process, pytest.raises(AtomtuneError) as refused, run_lock(folder):
        pass
    who = f"process {process.pid} on {socket.gethostname()}, since "
    assert refused.value.message.startswith(f"{folder} is in use by another atomtune train ({who}")
    assert refused.value.hint == "wait for it, or --output names another folder"


def test_a_killed_process_keeps_nobody_out(tmp_path: Path) -> None:
    folder = tmp_path / "castle"
    with held(folder) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert json.loads((folder / NOTE).read_text(encoding="utf-8"))["process"] == process.pid
        with run_lock(folder), pytest.raises(AtomtuneError, match="in use"), run_lock(folder):
            pass


@pytest.mark.parametrize("end", [AtomtuneError("no images"), ValueError(), KeyboardInterrupt(), SystemExit(1), None])
def test_the_folder_is_given_back_however_the_run_ends(tmp_path: Path, end: BaseException | None) -> None:
    (tmp_path / "run.json").touch()
    with pytest.raises(type(end)) if end is not None else nullcontext(), run_lock(tmp_path):
        assert (tmp_path / NOTE).is_file()
        if end is not None:
            raise end
    assert not (tmp_path / NOTE).exists()
    with run_lock(tmp_path):
        pass


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}], ids=["new", "overwrite", "resume"])
def test_nothing_is_read_written_or_cleared_while_another_trains(
    options: Callable[..., TrainOptions], tmp_path: Path, how: dict[str, bool]
) -> None:
    train(options(steps=1), tmp_path / "run")
    before = contents(tmp_path / "run")
    with held(tmp_path / "run"), pytest.raises(AtomtuneError, match="in use by another atomtune train"):
        train(options(steps=2), tmp_path / "run", **how)
    assert contents(tmp_path / "run") == before


LAUNCHERS = [
    ("RANK", "WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
]


@pytest.mark.parametrize(("rank", "size"), LAUNCHERS)
def test_the_first_process_of_a_launch_holds_it_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: str, size: str
) -> None:
    monkeypatch.setenv(size, "2")
    with held(tmp_path):
        monkeypatch.setenv(rank, "1")
        with run_lock(tmp_path):
            pass
        monkeypatch.setenv(rank, "0")
        with pytest.raises(AtomtuneError, match="in use"), run_lock(tmp_path):
            pass


@pytest.mark.parametrize("size", [None, "1", "0", "", "many"])
@pytest.mark.parametrize(("rank", "of"), LAUNCHERS)
def test_a_rank_that_was_left_over_in_the_environment_does_not_open_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: str, of: str, size: str | None
) -> None:
    with run_lock(tmp_path):
        monkeypatch.setenv(rank, "1")
        if size is not None:
            monkeypatch.setenv(of, size)
        with pytest.raises(AtomtuneError, match="in use"), run_lock(tmp_path):
            pass


def test_a_process_of_a_launch_that_would_train_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "3")
    with pytest.raises(UsageError, match="process 3 of a launch, but it would train alone"):
        check_launch(SimpleNamespace(num_processes=1))
    check_launch(SimpleNamespace(num_processes=4))


def test_a_run_that_comes_to_nothing_leaves_no_folder(tmp_path: Path) -> None:
    with run_lock(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    with run_lock(tmp_path / "empty"):
        pass
    assert (tmp_path / "empty").is_dir()
    with run_lock(tmp_path / "used"):
        (tmp_path / "used" / "run.json").write_text("{}")
    assert (tmp_path / "used" / "run.json").is_file()


def test_places_that_are_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file is not a folder"), run_lock(tmp_path / "file"):
        pass
    with (
        pytest.raises(AtomtuneError, match=r"cannot write .*below: Not a directory"),
        run_lock(tmp_path / "file/below"),
    ):
        pass


@pytest.mark.parametrize(
    ("note", "shown"),
    [
        (
            '{"process": 4711, "host": "box", "since": "2026-01-02T12:03:09+00:00"}',
            " (process 4711 on box, since 12:03)",
        ),
        (
            '{"process": 4711, "host": "box", "since": "2026-01-01T23:59:00+00:00"}',
            " (process 4711 on box, since 2026-01-01 23:59)",
        ),
        (
            '{"process": 4711, "host": "box", "since": "2026-01-02T12:03:09+09:00"}',
            " (process 4711 on box, since 03:03)",
        ),
        ('{"process": 4711, "host": "box"}', ""),
        ('{"process": 47', ""),
        ('{"process": "x", "host": "box", "since": "2026-01-02T12:03:09+00:00"}', ""),
        ('{"process": 4711, "host": "box", "since": 5}', ""),
        ("[]", ""),
        ("", ""),
    ],
)
def test_a_note_is_shown_where_it_is_whole(note: str, shown: str) -> None:
    told = in_use(Path("runs/castle"), note, datetime(2026, 1, 2, 15, 0, tzinfo=UTC))
    assert told.message == f"runs/castle is in use by another atomtune train{shown}"


def test_a_note_says_which_command_it_is() -> None:
    note = '{"command": "evaluate", "process": 4711, "host": "box", "since": "2026-01-01T23:59:00+00:00"}'
    said = in_use(Path("runs/castle"), note, datetime(2026, 1, 2, 15, 0, tzinfo=UTC)).message
    assert "another atomtune evaluate (process 4711" in said
