"""Killed at any point, a run goes on to the same end: SIGKILL, which nobody can catch, in processes of their own."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import atomtune
from atomtune.errors import AtomtuneError
from atomtune.files.atoms_file import load_atoms
from atomtune.files.checkpoint import load_checkpoint
from atomtune.methods.specs import PRESETS
from atomtune.training.options import TrainOptions
from atomtune.training.run_lock import LOCK
from atomtune.training.train import train

Options = Callable[..., TrainOptions]
LAUNCHER = Path(atomtune.__file__).parents[1] / "cli.py"
POLL = 0.002  # seconds


def start(asked: TrainOptions, run: Path, *more: str) -> subprocess.Popen[bytes]:
    """`atomtune train` in a process of its own: the same command begins a run and goes on with it."""
    words = f"train --concept castle --images {asked.images} --model {asked.model} --device cpu --preset c1 -q"
    words += f" --token {asked.concept.token} --steps {asked.steps}"
    words += f" --batch-size 1 --checkpoint-every {asked.checkpoint_every} --output {run}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (run.parent / "errors.txt").open("ab") as errors:
        return subprocess.Popen(
            [sys.executable, str(LAUNCHER), *words.split(), *more], stdout=errors, stderr=errors, env=environment
        )


def last_step(run: Path) -> int:
    """The last step in the log; 0 where there is none."""
    try:
        return int(json.loads((run / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])["step"])
    except (OSError, IndexError, ValueError):
        return 0


def wait_until(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    """Wait for something that a process does, or for its end."""
    while process.poll() is None and not condition():
        time.sleep(POLL)


def check_end(run: Path, whole: Path, steps: int) -> None:
    """A run ended as the whole one did, bit for bit but for its dates, and left nothing lying about."""
    (ours, info, digest), (theirs, expected, expected_digest) = (
        load_atoms(folder / "castle.safetensors") for folder in (run, whole)
    )
    assert digest == expected_digest
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert replace(info, created="") == replace(expected, created="")
    one, other = (load_checkpoint(folder / "checkpoint.safetensors") for folder in (run, whole))
    assert one.losses == other.losses
    assert all(torch.equal(value, other.parameters[name]) for name, value in one.parameters.items())
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, steps + 1))
    names, expected_names = (
        {str(path.relative_to(folder)) for path in folder.rglob("*")} - {LOCK} for folder in (run, whole)
    )
    assert names == expected_names, "something is missing, or lies about"


def test_a_run_that_was_killed_goes_on_to_the_same_end(options: Options, tmp_path: Path) -> None:
    asked = options(spec=PRESETS["c1"], steps=40, batch_size=1, checkpoint_every=3)
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(asked, whole)
    process = start(asked, run)
    wait_until(process, lambda: last_step(run) >= 6)  # so the state of step 3 is there
    process.send_signal(signal.SIGSTOP)  # it waits, and holds its folder
    with pytest.raises(AtomtuneError, match=f"in use by another atomtune train .process {process.pid} on "):
        train(asked, run, overwrite=True)
    process.kill()
    assert process.wait() == -signal.SIGKILL, (tmp_path / "errors.txt").read_text(encoding="utf-8")
    resumed = train(asked, run, resume=True)
    assert 3 <= resumed.resumed_from < asked.steps
    check_end(run, whole, asked.steps)


@pytest.mark.slow
def test_a_run_that_was_killed_twenty_times_goes_on_to_the_same_end(options: Options, tmp_path: Path) -> None:
    asked = options(spec=PRESETS["c1"], steps=1200, batch_size=1, checkpoint_every=3)
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(asked, whole)
    generator = random.Random(20)
    # while it starts, in the middle of steps, while it writes
    points = ["start", "step", "writing"] * 6 + ["step", "writing"]
    generator.shuffle(points)
    for point in points:
        begun_at, process = last_step(run), start(asked, run)
        moment = time.monotonic() + generator.uniform(0.0, 5.0)
        ahead = begun_at + generator.randint(1, 20)
        farthest = begun_at + 40  # whatever the machine's speed, the steps last for all points
        if point == "start":
            wait_until(process, lambda at=moment, end=farthest: time.monotonic() > at or last_step(run) > end)
        else:
            wait_until(process, lambda step=ahead: last_step(run) > step)
            if point == "writing":
                wait_until(process, lambda end=farthest: bool(list(run.glob(".*.tmp"))) or last_step(run) > end)
            else:
                time.sleep(generator.uniform(0.0, 0.05))
        process.kill()
        assert process.wait() == -signal.SIGKILL, (tmp_path / "errors.txt").read_text(encoding="utf-8")
    last = start(asked, run)
    assert last.wait() == 0, (tmp_path / "errors.txt").read_text(encoding="utf-8")
    check_end(run, whole, asked.steps)


@pytest.mark.slow
def test_a_run_that_was_killed_while_it_replaces_another_keeps_a_result(options: Options, tmp_path: Path) -> None:
    asked = options(spec=PRESETS["c1"], steps=60, batch_size=1, checkpoint_every=5)
    run, before = tmp_path / "run", train(options(spec=PRESETS["c1"], steps=10), tmp_path / "run").sha256
    after = train(asked, tmp_path / "whole").sha256
    generator = random.Random(3)
    for _ in range(6):
        process = start(asked, run, "--overwrite")
        begun = time.monotonic()
        wait_until(process, lambda: (run / ".replacement" / "log.jsonl").is_file())
        moment = time.monotonic() + generator.uniform(0.0, 1.2) * max(1.0, time.monotonic() - begun) / 4
        wait_until(process, lambda at=moment: time.monotonic() > at)
        process.kill()
        process.wait()
        assert load_atoms(run / "castle.safetensors")[2] in (before, after)
    last = start(asked, run, "--overwrite")
    assert last.wait() == 0, (tmp_path / "errors.txt").read_text(encoding="utf-8")
    check_end(run, tmp_path / "whole", asked.steps)
