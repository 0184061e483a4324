"""The state of a run is read from its folder, whoever trains it."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from atomtune.errors import UsageError
from atomtune.training.options import TrainOptions
from atomtune.training.run_lock import NOTE
from atomtune.training.train import train
from atomtune.ui import deletion, jobs, run_state, watch


@pytest.fixture
def trained(options: Callable[..., TrainOptions]) -> Path:
    """A finished run of six steps with previews, in runs/castle."""
    train(options(sample_every=3, sample_steps=2), "runs/castle")
    return Path("runs/castle")


def test_a_run_of_the_command_line_is_seen_with_its_steps_losses_and_previews(trained: Path) -> None:
    state = run_state.run_state("castle")
    assert (state.state, state.step, state.steps) == ("done", 6, 6)
    assert [step.number for step in state.log] == [1, 2, 3, 4, 5, 6]
    assert state.speed > 0
    assert [step for step, _ in state.previews] == [3, 6]
    assert state.job is None
    assert run_state.runs() == ["castle"]
    assert "6 of 6" in watch.status(state)
    assert watch.can(state) == {"stop": False, "resume": False}


def test_the_curve_has_every_step_and_their_running_mean(trained: Path) -> None:
    pytest.importorskip("pandas", reason="needs the extra ui")
    table = watch.curve([run_state.run_state("castle")])
    assert set(table["line"]) == {"each step", "running mean"}
    assert sorted(set(table["step"])) == [1, 2, 3, 4, 5, 6]


def test_a_run_that_somebody_else_trains_runs(trained: Path) -> None:
    note = {"process": os.getpid(), "host": socket.gethostname(), "command": "train"}
    (trained / NOTE).write_text(json.dumps(note))
    state = run_state.run_state("castle")
    assert state.state == "running"
    assert watch.can(state) == {"stop": False, "resume": False}
    (trained / NOTE).write_text(json.dumps(note | {"process": 2**22 + 1}))
    assert run_state.run_state("castle").state == "done"


def test_a_run_that_has_a_checkpoint_and_no_result_can_go_on(trained: Path) -> None:
    record = json.loads((trained / "run.json").read_text())
    del record["result"]
    (trained / "run.json").write_text(json.dumps(record))
    state = run_state.run_state("castle")
    assert state.state == "saved"
    assert watch.can(state)["resume"]


def test_the_newest_job_about_a_run_says_how_it_stands(trained: Path) -> None:
    job = jobs.add("teach castle", ["train", "--concept=castle"], "castle", "cpu")
    state = run_state.run_state("castle")
    assert (state.state, state.job) == ("queued", job)
    assert "waits, next" in watch.status(state)


def test_a_log_that_a_crash_cut_short_is_read_as_far_as_it_goes(trained: Path) -> None:
    with (trained / "log.jsonl").open("a") as log:
        log.write('{"step": 7, "lo')
    assert run_state.run_state("castle").step == 6


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "", "..", "/etc", ".jobs"])
def test_a_name_that_leads_out_of_the_runs_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        run_state.run_state(name)


def test_deleting_a_run_deletes_what_atomtune_wrote_and_nothing_else(trained: Path) -> None:
    (trained / "notes.txt").write_text("mine")
    assert deletion.delete_run(trained) == [trained / "notes.txt"]
    assert [path.name for path in trained.iterdir() if not path.name.startswith(".atomtune")] == ["notes.txt"]


def test_deleting_leaves_no_folder_where_all_was_written_by_atomtune(trained: Path) -> None:
    assert deletion.delete_run(trained) == []
    assert not trained.exists()
    with pytest.raises(UsageError, match="holds no run"):
        deletion.delete_run(trained)
