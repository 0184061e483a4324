"""A fleet on a local Ray: what dies costs what came after the last checkpoint, and nothing else."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from atomtune.files.checkpoint import load_checkpoint
from atomtune.training.options import TrainOptions
from atomtune.training.run_lock import NOTE
from atomtune.training.train import train

CONCEPTS, STEPS, EVERY = 12, 200, 20


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `atomtune fleet train` in a process group of its own; what is left of it after the test is killed."""
    begun: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        begun.append(started(*arguments, folder=tmp_path))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def started(*arguments: object, folder: Path) -> subprocess.Popen[str]:
    """The command, begun."""
    command = [sys.executable, "-m", "atomtune", "fleet", "train", *map(str, arguments)]
    root = str(Path(__file__).parents[2])
    ray = {"RAY_memory_monitor_refresh_ms": "0", "RAY_raylet_start_wait_time_s": "300"}  # on a busy machine
    environment = os.environ | ray | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def wait_for(what: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    """Wait for something while a process runs."""
    until = time.monotonic() + 900
    while not (found := what()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    return found


def workers(process: subprocess.Popen[str]) -> dict[int, psutil.Process]:
    """The processes that learn."""
    found = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # just killed
            title = " ".join(child.cmdline())
            found |= {child.pid: child} if "ray::" in title and "learn" in title else {}
    return found


def at_work(runs: Path, process: subprocess.Popen[str]) -> tuple[Path, psutil.Process] | None:
    """A run that has a checkpoint and is not complete, and the process that it is trained by."""
    for run in sorted(runs.glob("c*/")):
        if (run / "checkpoint.safetensors").is_file() and not (run / "loss.svg").is_file():
            with suppress(OSError, ValueError):  # just over
                pid = json.loads((run / NOTE).read_text())["process"]
                if pid in (found := workers(process)):
                    return run, found[pid]
    return None


def saved_step(run: Path) -> int:
    """The step of a run's checkpoint."""
    return load_checkpoint(run / "checkpoint.safetensors").step


def result_of(run: Path) -> dict[str, Any]:
    """What run.json says of a run's result; empty before its end."""
    with suppress(OSError, ValueError):
        return json.loads((run / "run.json").read_text()).get("result", {})
    return {}


@pytest.mark.slow
def test_workers_and_driver_killed_in_the_middle_cost_no_step_before_a_checkpoint(
    options: Callable[..., TrainOptions], tmp_path: Path, fleet: Callable[..., subprocess.Popen[str]]
) -> None:
    pytest.importorskip("ray", reason="ray of the extra fleet is not installed")
    first = options(steps=STEPS, checkpoint_every=EVERY)
    common = f'model = "{first.model}"\nsteps = {STEPS}\ncheckpoint_every = {EVERY}\nbatch_size = 2\ndevice = "cpu"\n'
    jobs = [
        f'[[jobs]]\nconcept = "c{number:02d}"\nclass_noun = "castle"\nseed = {number}\nimages = "{first.images}"\n'
        for number in range(CONCEPTS)
    ]
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "1.png").write_bytes(b"no image")
    bad = f'[[jobs]]\nconcept = "bad"\nimages = "{tmp_path / "broken"}"\n'
    (tmp_path / "jobs.toml").write_text(common + bad + "".join(jobs))
    arguments = ("--jobs", "jobs.toml", "--output", "fleet", "--workers", 2, "--json")
    runs = tmp_path / "fleet"

    driver = fleet(*arguments)
    hit, victim = wait_for(lambda: at_work(runs, driver), driver)
    victim.kill()
    victim.wait()
    saved = saved_step(hit)
    # another worker takes its place, and goes on with what it was at
    assert wait_for(lambda: result_of(hit), driver)["resumed_from"] == saved
    assert EVERY <= saved < STEPS
    wait_for(lambda: at_work(runs, driver), driver)
    children = psutil.Process(driver.pid).children(recursive=True)
    driver.kill()
    driver.communicate()
    # those that learn end within seconds, Ray's agents within a minute or so
    _, alive = psutil.wait_procs(children, timeout=240)
    assert not alive, "what the command started has not ended with it"
    begun = {run.name: saved_step(run) for run in runs.glob("c*/") if (run / "checkpoint.safetensors").is_file()}
    complete = {name for name in begun if result_of(runs / name)}
    assert hit.name in complete
    assert 0 < len(complete) < CONCEPTS
    before = {name: (runs / name / "run.json").stat().st_mtime_ns for name in complete}

    again = fleet(*arguments)
    out, err = again.communicate(timeout=1800)
    assert again.returncode == 1, err  # for the bad one
    rows = {row["name"]: row for row in json.loads(out)["rows"]}
    assert rows.pop("bad")["state"] == "failed"
    assert "1.png" in err
    assert {row["state"] for row in rows.values()} == {"done"}, err
    assert {name: (runs / name / "run.json").stat().st_mtime_ns for name in complete} == before
    for name, row in rows.items():
        if name not in complete:
            assert row["resumed_from"] == begun.get(name, 0)
        lines = (runs / name / "log.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == list(range(1, STEPS + 1))
        record = json.loads((runs / name / "run.json").read_text())
        alone = train(TrainOptions.from_dict(record["options"]), tmp_path / "alone" / name)
        assert row["sha256"] == alone.sha256
