"""A process of its own for each training: what it tells, what it costs, how it is stopped."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from atomtune.compare.options import CompareOptions, jobs_of
from atomtune.compare.runs import train_missing
from atomtune.compare.subprocess_training import COST, Order, Trainer, cost, train_apart, train_here
from atomtune.compare.variants import parse_variants
from atomtune.errors import AtomtuneError, Interrupted, Terminated
from atomtune.files.atoms_file import load_atoms
from atomtune.runtime.progress import Events
from atomtune.training.run_folder import RunFolder
from atomtune.training.run_lock import run_lock


@pytest.fixture
def order(made: Callable[..., CompareOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Order:
    """Twelve steps of BitFit, on one thread as this process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    job = jobs_of(made(tmp_path, steps=12, variants=parse_variants(["bitfit"])))[0]
    return Order(job.options, tmp_path / "run")


@pytest.mark.parametrize("again", [train_here, pytest.param(train_apart, marks=pytest.mark.slow)])
def test_it_is_stopped_goes_on_and_comes_to_the_same(again: Trainer, order: Order, tmp_path: Path) -> None:
    class Watch(Events):
        def __init__(self, stop: bool) -> None:
            self.stop, self.begun, self.steps = stop, (0, 0), 0

        def begin(self, what: str, total: int, done: int = 0) -> None:
            self.begun = total, done

        def advance(self, note: str = "") -> None:
            assert note.startswith("loss ")
            self.steps += 1
            if self.stop and self.steps == 1:
                raise Terminated

    first, second = Watch(stop=True), Watch(stop=False)
    with pytest.raises(Interrupted) as stopped:
        train_apart(order, first)
    assert stopped.value.exit_code == 143
    assert first.begun == (12, 0)
    folder = RunFolder(order.output)
    assert folder.checkpoint.is_file()
    assert not folder.atoms.exists()
    assert (cost(order.output)[0] or 0) > 100e6
    again(replace(order, resume=True), second)
    done = second.begun[1]
    assert 0 < done < 12
    assert second.steps == 12 - done
    train_here(replace(order, output=tmp_path / "here"), Events())
    ours, theirs = (load_atoms(path / "castle.safetensors")[2] for path in (order.output, tmp_path / "here"))
    assert ours == theirs


@pytest.mark.slow
def test_what_goes_wrong_there_is_reported_here(order: Order, tmp_path: Path) -> None:
    lost = replace(order, options=replace(order.options, images=tmp_path / "nowhere"))
    with pytest.raises(AtomtuneError, match=r"there is no folder .*nowhere") as caught:
        train_apart(lost, Events())
    assert "--images" in str(caught.value.hint)
    assert not isinstance(caught.value, Interrupted)


def test_a_process_that_dies_without_a_word(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(AtomtuneError, match="the training process ended with exit code 1"):
        train_apart(order, Events())
    killed = Path(order.output.parent / "killed")
    killed.write_text("#!/bin/sh\nkill -9 $$\n", encoding="utf-8")
    killed.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(killed))
    with pytest.raises(AtomtuneError, match="ended by signal 9") as caught:
        train_apart(order, Events())
    assert "memory" in str(caught.value.hint)


def test_costs_that_are_not_known(tmp_path: Path) -> None:
    assert cost(tmp_path) == (None, None)
    for text in ("{", "[]", "{}", '{"peak_bytes": 3}'):
        (tmp_path / COST).write_text(text, encoding="utf-8")
        assert cost(tmp_path) == (None, None)


def test_a_run_that_a_killed_comparison_still_trains_is_waited_for(
    made: Callable[..., CompareOptions], tmp_path: Path
) -> None:
    """Its training process saves the state of its last step before it ends."""
    job = jobs_of(made(tmp_path, steps=2, variants=parse_variants(["bitfit"])))[0]
    held, released = threading.Event(), threading.Event()

    def hold() -> None:
        with run_lock(job.folder):
            held.set()
            released.wait(60)

    class Release(Events):
        def phase(self, text: str) -> None:
            if text.startswith("waiting for another process"):
                released.set()

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(60)
    done = train_missing(job, train_here, Release())
    holder.join()
    assert released.is_set()
    assert done.steps == 2
