"""A worker learns what `train` learns, one concept after the other, wherever the output is."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from atomtune.commands.options.jobs_file import read_jobs
from atomtune.data.concept import Concept
from atomtune.errors import UsageError
from atomtune.fleet.options import DONE, FAILED, STOPPED, FleetJob
from atomtune.fleet.place import Place
from atomtune.fleet.table import read_table, write_table
from atomtune.fleet.worker import STOP, FleetWorker
from atomtune.training.options import TrainOptions
from atomtune.training.train import train

Make = Callable[..., TrainOptions]


def silent(name: str, done: int, total: int) -> None:
    """Report nothing."""


@pytest.fixture
def jobs(options: Make) -> list[FleetJob]:
    """Two concepts of the same images, one with another seed."""
    return [
        FleetJob(options(steps=4)),
        FleetJob(options(steps=4, seed=3, concept=Concept("rex", "dog", "ohwx"))),
    ]


@pytest.fixture
def memory() -> str:
    """An address in this process's memory, empty."""
    files = fsspec.filesystem("memory")
    if files.exists("/fleet"):
        files.rm("/fleet", recursive=True)
    return "memory://fleet"


def test_results_equal_those_of_train_bit_for_bit(jobs: list[FleetJob], tmp_path: Path, memory: str) -> None:
    alone = [train(job.options, tmp_path / "alone" / job.name).sha256 for job in jobs]
    for output in (str(tmp_path / "runs"), memory):
        worker = FleetWorker(output, silent)
        rows = [worker.learn(job) for job in jobs]
        assert [row.state for row in rows] == [DONE, DONE], rows
        assert [row.sha256 for row in rows] == alone
        # again: nothing is trained twice
        assert [worker.learn(job) for job in jobs] == rows
        assert Place(output).read("rex/rex.safetensors") is not None


def test_a_concept_goes_on_after_its_last_checkpoint_elsewhere(
    jobs: list[FleetJob], tmp_path: Path, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs[0]
    alone = train(job.options, tmp_path / "alone").sha256
    monkeypatch.setattr("atomtune.fleet.worker._APART", 0.0)
    taken: list[int] = []

    def stop(name: str, done: int, total: int) -> None:
        taken.append(done)
        if done == 3:
            Place(memory).write(STOP, b"")

    handler = signal.getsignal(signal.SIGTERM)
    assert FleetWorker(memory, stop).learn(job).state == STOPPED
    assert signal.getsignal(signal.SIGTERM) == handler
    assert taken[-1] == 3
    assert FleetWorker(memory, silent).learn(job).error == "stopped before it began"
    Place(memory).remove(STOP)
    row = FleetWorker(memory, silent).learn(job)
    assert (row.state, row.sha256) == (DONE, alone)
    assert row.resumed_from >= 2


def test_a_bad_concept_is_told_of_and_the_next_one_is_learned(jobs: list[FleetJob], tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "1.png").write_bytes(b"no image")
    worker = FleetWorker(str(tmp_path / "runs"), silent)
    bad = worker.learn(FleetJob(replace(jobs[0].options, images=broken)))
    assert bad.state == FAILED
    assert "1.png" in bad.error
    assert worker.learn(jobs[1]).state == DONE
    other = worker.learn(replace(jobs[1], options=replace(jobs[1].options, lr=1e-4)))
    assert other.state == FAILED
    assert "lr was" in other.error


def test_images_come_from_an_address_or_with_the_job(
    jobs: list[FleetJob], images: Path, tmp_path: Path, memory: str
) -> None:
    alone = train(jobs[0].options, tmp_path / "alone").sha256
    for path in images.iterdir():
        Place(memory).write(f"photos/{path.name}", path.read_bytes())
    nowhere = replace(jobs[0].options, images=Path("nowhere"))
    packed = tuple((path.name, path.read_bytes()) for path in images.iterdir())
    for number, job in enumerate((FleetJob(nowhere, f"{memory}/photos"), FleetJob(nowhere, packed=packed))):
        assert FleetWorker(str(tmp_path / str(number)), silent).learn(job).sha256 == alone


def test_the_table_is_read_again(jobs: list[FleetJob], tmp_path: Path, memory: str) -> None:
    row = FleetWorker(memory, silent).learn(jobs[0])
    for place in (Place(str(tmp_path)), Place(memory)):
        write_table(place, [row])
        assert read_table(place) == [row]
        assert row.sha256 in (place.read("fleet.csv") or b"").decode()
    with pytest.raises(UsageError, match="there is no fleet"):
        read_table(Place(str(tmp_path / "nowhere")))


def test_jobs_are_read_and_everything_wrong_is_said_at_once(tmp_path: Path, images: Path) -> None:
    file = tmp_path / "jobs.toml"
    file.write_text(
        'steps = 7\nmethod = "lora"\n[[jobs]]\nconcept = "castle"\nrank = 2\n'
        '[[jobs]]\nconcept = "rex"\nclass_noun = "dog"\nimages = "s3://bucket/rex"\nsteps = 9\n'
    )
    castle, rex = read_jobs(file)
    assert (castle.options.steps, castle.options.method, castle.options.spec.to_dict()["rank"]) == (7, "lora", 2)
    assert (rex.options.steps, rex.options.concept.class_noun, rex.images) == (9, "dog", "s3://bucket/rex")
    assert [job.name for job in read_jobs(images.parent)] == ["castle"]
    file.write_text('[[jobs]]\nconcept = "castle"\nsteps = 0\n[[jobs]]\nstep = 1\n')
    with pytest.raises(UsageError) as problem:
        read_jobs(file)
    assert "job 1" in problem.value.message
    assert "job 2" in problem.value.message
