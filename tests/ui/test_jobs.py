"""Jobs: processes of their own whose folders say how they stand, one at a time on each device."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atomtune.errors import UsageError
from atomtune.ui import jobs
from atomtune.ui.jobs import DONE, FAILED, QUEUED, RUNNING, STOPPED, Job
from atomtune.ui.queue import Queue, waiting_before
from page_server import ROOT


@pytest.fixture(autouse=True)
def _this_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def queue() -> Iterator[Queue]:
    """A queue that is looked at by hand; what it started is ended."""
    yield Queue()
    for job in jobs.jobs():
        job.stop()
    until(lambda: all(job.state not in (RUNNING,) for job in jobs.jobs()))


def until(happened: Callable[[], bool], seconds: float = 240.0) -> None:
    """Wait for something, and fail where it does not come."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def sleeping(job: Job) -> Job:
    """A job that is as one whose process runs: this folder says that a sleeping process does it."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    import psutil

    who = {"pid": child.pid, "began": psutil.Process(child.pid).create_time()}
    (job.folder / "process.json").write_text(json.dumps({"runner": who, "child": who}))
    return job


def test_a_command_runs_in_a_process_of_its_own_and_its_result_is_kept(queue: Queue) -> None:
    job = jobs.add("what there is", ["concepts", "--json"], "", "cpu")
    assert job.state == QUEUED
    assert queue.look() == [job]
    until(lambda: job.state == DONE)
    assert job.result == {"concepts": [], "ready": 0, "sheet": None}
    assert job.problem is None
    assert job.command_line == "atomtune concepts"


def test_what_the_command_line_says_of_a_failure_is_what_the_page_has(queue: Queue) -> None:
    job = jobs.add("nothing there", ["sample", "--concept=rex", "--prompt=a <rex>", "--json"], "", "cpu")
    queue.look()
    until(lambda: job.state == FAILED)
    problem = job.problem
    assert problem is not None
    assert problem.message == "there is no concept rex in runs/"
    assert problem.hint == "atomtune train --concept rex teaches it"


def test_one_job_at_a_time_on_a_device_in_the_order_in_which_they_were_asked_for(queue: Queue) -> None:
    first, second, third, other = (
        jobs.add("a", ["concepts"], "", "cpu"),
        jobs.add("b", ["concepts"], "", "cpu"),
        jobs.add("c", ["concepts"], "", "cpu"),
        jobs.add("d", ["concepts"], "", "cuda:0"),
    )
    sleeping(first)
    assert queue.look() == [other]
    assert [waiting_before(job) for job in (second, third)] == [1, 2]
    assert second.state == third.state == QUEUED
    first.stop()
    until(lambda: first.state != RUNNING)
    assert queue.look() == [second]


def test_a_job_that_waits_is_taken_out_and_one_that_runs_is_asked_to_stop(queue: Queue) -> None:
    waiting = jobs.add("a", ["concepts"], "", "cpu")
    waiting.stop()
    assert waiting.state == STOPPED
    assert queue.look() == []
    running = sleeping(jobs.add("b", ["concepts"], "", "cpu"))
    assert running.state == RUNNING
    running.stop()
    until(lambda: running.state != RUNNING)


def test_a_process_that_was_killed_is_a_failure_with_words(queue: Queue) -> None:
    job = sleeping(jobs.add("a", ["train", "--concept=rex"], "rex", "cpu"))
    os.kill(json.loads((job.folder / "process.json").read_text())["child"]["pid"], signal.SIGKILL)
    (job.folder / "stderr").write_text("Training 30/60 steps\n")
    (job.folder / "ended.json").write_text('{"code": -9}')
    assert job.state == FAILED
    problem = job.problem
    assert problem is not None
    assert "signal 9" in problem.message
    assert "Training 30/60" in problem.message
    assert "memory" in problem.hint


def test_a_process_whose_number_another_one_has_now_is_not_taken_for_it() -> None:
    job = jobs.add("a", ["concepts"], "", "cpu")
    (job.folder / "process.json").write_text(json.dumps({"child": {"pid": os.getpid(), "began": 1.0}}))
    assert job.state == FAILED


def test_a_run_is_in_the_queue_once() -> None:
    jobs.add("teach rex", ["train", "--concept=rex"], "rex", "cpu")
    with pytest.raises(UsageError, match="in the queue already"):
        jobs.add("teach rex", ["train", "--concept=rex"], "rex", "cpu")


def test_two_servers_in_one_folder_start_a_job_once() -> None:
    job = jobs.add("what there is", ["concepts", "--json"], "", "cpu")
    runners = [subprocess.Popen([sys.executable, "-m", "atomtune.ui.job_process", str(job.folder)]) for _ in range(2)]
    assert sorted(runner.wait() for runner in runners) == [0, 0]
    assert json.loads((job.folder / "stdout").read_text())["ready"] == 0


def test_damaged_records_of_jobs_are_left_out() -> None:
    good = jobs.add("a", ["concepts"], "", "cpu")
    for name, text in (("000007", "{"), ("000008", "[]"), ("000009", '{"number": 9}'), ("x", "{}")):
        Path(jobs.JOBS / name).mkdir()
        (jobs.JOBS / name / "job.json").write_text(text)
    assert jobs.jobs() == [good]
    with pytest.raises(UsageError, match="no job 9"):
        jobs.job_of(9)
