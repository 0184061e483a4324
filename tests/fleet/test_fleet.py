"""A fleet on a local Ray: what dies costs what came after the last checkpoint, and nothing else."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from atomtune.training.options import TrainOptions
from atomtune.training.train import train

CONCEPTS, STEPS, EVERY = 4, 60, 10


def fleet(*arguments: object, folder: Path) -> subprocess.Popen[str]:
    """`atomtune fleet train` in a process group of its own."""
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


def checkpointed(runs: Path) -> list[Path]:
    """The runs that have a checkpoint and are not complete."""
    return [path.parent for path in runs.glob("*/checkpoint.safetensors") if not (path.parent / "loss.svg").is_file()]


def wait_for(what: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    """Wait for something while a process runs."""
    until = time.monotonic() + 240
    while not (found := what()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    return found


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that learn."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # just killed
            title = " ".join(child.cmdline())
            found += [child] if "ray::" in title and "learn" in title else []
    return found


@pytest.mark.slow
def test_workers_and_driver_killed_in_the_middle_cost_no_step_before_a_checkpoint(
    options: Callable[..., TrainOptions], tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="ray of the extra fleet is not installed")
    first = options(steps=STEPS, checkpoint_every=EVERY)
    common = f'model = "{first.model}"\nsteps = {STEPS}\ncheckpoint_every = {EVERY}\nbatch_size = 2\ndevice = "cpu"\n'
    jobs = [
        f'[[jobs]]\nconcept = "c{number}"\nclass_noun = "castle"\nseed = {number}\nimages = "{first.images}"\n'
        for number in range(CONCEPTS)
    ]
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "1.png").write_bytes(b"no image")
    bad = f'[[jobs]]\nconcept = "bad"\nimages = "{tmp_path / "broken"}"\n'
    (tmp_path / "jobs.toml").write_text(common + bad + "".join(jobs))
    arguments = ("--jobs", "jobs.toml", "--output", "fleet", "--workers", 2, "--json")
    runs = tmp_path / "fleet"

    driver = fleet(*arguments, folder=tmp_path)
    wait_for(lambda: checkpointed(runs), driver)
    (victim, *_) = wait_for(lambda: workers(driver), driver)
    victim.kill()
    # another worker has taken its place, and a concept goes on
    wait_for(lambda: victim.pid not in {one.pid for one in workers(driver)} and len(workers(driver)) == 2, driver)
    children = psutil.Process(driver.pid).children(recursive=True)
    driver.kill()
    driver.communicate()
    _, alive = psutil.wait_procs(children, timeout=60)
    for child in alive:
        os.kill(child.pid, signal.SIGKILL)

    again = fleet(*arguments, folder=tmp_path)
    out, err = again.communicate(timeout=400)
    assert again.returncode == 1, err  # for the bad one
    rows = {row["name"]: row for row in json.loads(out)["rows"]}
    assert rows.pop("bad")["state"] == "failed"
    assert "1.png" in err
    assert {row["state"] for row in rows.values()} == {"done"}, err
    assert any(row["resumed_from"] >= EVERY for row in rows.values())
    for number in range(CONCEPTS):
        lines = (runs / f"c{number}" / "log.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == list(range(1, STEPS + 1))
        record = json.loads((runs / f"c{number}" / "run.json").read_text())
        alone = train(TrainOptions.from_dict(record["options"]), tmp_path / "alone" / f"c{number}")
        assert rows[f"c{number}"]["sha256"] == alone.sha256
