"""A worker learns what `train` learns, one concept after the other, wherever the output is."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from PIL import Image

from atomtune.commands.options.jobs_file import read_jobs
from atomtune.data.concept import Concept
from atomtune.errors import UsageError
from atomtune.fleet.options import DONE, FAILED, STOPPED, FleetJob, FleetRow
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
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address on an S3 server of this process, empty."""
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = pytest.importorskip("moto.server", reason="moto[s3] and flask are not installed")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    for name, value in (("ACCESS_KEY_ID", "us"), ("SECRET_ACCESS_KEY", "our-secret"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("NO_PROXY", host)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("bucket")
    yield "s3://bucket/runs"
    s3fs.S3FileSystem.clear_instance_cache()
    running.stop()


@pytest.fixture
def memory() -> str:
    """An address in this process's memory, empty."""
    files = fsspec.filesystem("memory")
    if files.exists("/fleet"):
        files.rm("/fleet", recursive=True)
    return "memory://fleet"


@pytest.mark.parametrize("where", ["folder", "memory", "s3"])
def test_results_equal_those_of_train_bit_for_bit(
    jobs: list[FleetJob], tmp_path: Path, where: str, request: pytest.FixtureRequest
) -> None:
    output = str(tmp_path / "runs") if where == "folder" else request.getfixturevalue(where)
    alone = [train(job.options, tmp_path / "alone" / job.name).sha256 for job in jobs]
    worker = FleetWorker(output, silent)
    rows = [worker.learn(job) for job in jobs]
    assert [row.state for row in rows] == [DONE, DONE], rows
    assert [row.sha256 for row in rows] == alone
    # again: nothing is trained twice
    assert [FleetWorker(output, silent).learn(job) for job in jobs] == rows
    place = Place(output)
    assert place.read("rex/rex.safetensors") is not None
    write_table(place, rows)
    assert read_table(place) == rows
    place.write(STOP, b"")
    assert place.exists(STOP)
    place.remove(STOP)
    assert not place.exists(STOP)


def test_a_run_goes_on_wherever_copying_out_broke_off(
    jobs: list[FleetJob], tmp_path: Path, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs[0]
    alone = train(job.options, tmp_path / "alone").sha256
    own, written = Place.write, 0

    def write(place: Place, name: str, content: bytes) -> None:
        nonlocal written
        if written == 0:
            raise ConnectionError("gone")
        written -= 1
        own(place, name, content)

    monkeypatch.setattr(Place, "write", write)
    sittings = [2, 3, 3, 5, 1, 2, 4, 100]  # files that each copies out; complete are some 20
    worker = FleetWorker(memory, silent)
    for written in sittings:
        if written < 100:
            with pytest.raises(ConnectionError):
                worker.learn(job)
        else:
            row = worker.learn(job)
    assert (row.state, row.sha256) == (DONE, alone), row
    assert row.resumed_from >= 2


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
    assert row.resumed_from == 3


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


def test_the_page_shows_an_image_of_what_was_learned_and_the_last_preview(jobs: list[FleetJob], tmp_path: Path) -> None:
    plain, shown = jobs[0], jobs[1]
    shown = replace(shown, options=replace(shown.options, sample_every=2, sample_steps=1))
    worker = FleetWorker(str(tmp_path / "runs"), silent)
    rows = [worker.learn(job) for job in (plain, shown)]
    assert [row.thumbnail for row in rows] == ["castle/thumbnail.jpg", "rex/thumbnail.jpg"]
    for row, size in zip(rows, [(128, 128), (256, 128)], strict=True):
        assert Image.open(tmp_path / "runs" / row.thumbnail).size == size
    failed = FleetRow("<b>", FAILED, error="<i>nothing</i>")
    write_table(Place(str(tmp_path / "runs")), [*rows, failed])
    page = (tmp_path / "runs" / "fleet.html").read_text()
    assert page.count("<img ") == 2
    assert '<img src="rex/thumbnail.jpg" alt="rex" loading="lazy">' in page
    assert "&lt;i&gt;nothing" in page
    assert "<b>" not in page


def test_the_page_of_very_many_concepts_shows_those_that_failed(memory: str) -> None:
    rows = [FleetRow(f"c{number}", DONE if number < 4000 else FAILED) for number in range(4001)]
    write_table(Place(memory), rows)
    page = (Place(memory).read("fleet.html") or b"").decode()
    assert "<td>c4000</td>" in page
    assert "<td>c3000</td>" not in page
    assert "The page shows 2,000" in page
    assert len(read_table(Place(memory))) == 4001


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
