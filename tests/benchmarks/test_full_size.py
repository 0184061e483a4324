"""The benchmark of full size, on a tiny model: every command runs, every figure is there, every target is judged."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import full_size, pipeline, processes
from benchmarks.full_size import TARGETS, Cost, Target, table, verdicts
from benchmarks.measure import Measured, bytes_in, measured


def test_a_process_is_measured(tmp_path: Path) -> None:
    program = "import os, sys; held = b'x' * 300_000_000; print(os.environ['WHERE'], os.getcwd()); sys.exit(3)"
    done = measured([sys.executable, "-c", program], tmp_path, {"WHERE": "here"})
    assert (done.code, done.out, done.err) == (3, f"here {tmp_path}\n", "")
    assert done.seconds > 0.0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 300_000_000])
def test_the_peak_is_that_of_the_process_itself(tmp_path: Path, size: int) -> None:
    # measured by a process as small as the benchmark's own: a child begins with the peak of its parent
    child = f"held = 'x' * {size}"
    program = (
        "import pathlib, sys; from benchmarks.measure import measured;"
        f"print(measured([sys.executable, '-c', {child!r}], pathlib.Path('.'), {{}}).peak_bytes)"
    )
    done = measured([sys.executable, "-c", program], tmp_path, {"PYTHONPATH": str(processes.ROOT)})
    assert size <= int(done.out) < size + 100_000_000, done.err


@pytest.mark.slow
def test_every_command_in_a_process_of_its_own(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = full_size.main(["--work", str(tmp_path), "--json", str(tmp_path / "figures.json")], tiny_model, needed=0)
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert (code, figures["holds"]) == (0, True), capsys.readouterr()
    assert [cost["command"] for cost in figures["commands"]] == ["decompose", "train", "sample", "merge"]
    assert all(cost["peak_bytes"] > 100e6 for cost in figures["commands"])


def test_the_commands_run_on_a_tiny_model(tiny_model: Path, tmp_path: Path, run: processes.Runner) -> None:
    images = tmp_path / "images"
    pipeline.draw(images, side=48)
    work = tmp_path / "work"
    work.mkdir()
    costs = full_size.run_all(work, images, tiny_model, run)
    assert [cost.command for cost in costs] == ["decompose", "train", "sample", "merge"]
    decompose, train, sample, merge = costs
    assert decompose.written_bytes >= decompose.printed["bytes"] > 0
    assert train.of("atoms_bytes") == (work / "runs" / "castle" / "castle.safetensors").stat().st_size
    assert train.printed["steps"] == 2
    assert [Path(work, image["path"]).is_file() for image in sample.printed["images"]] == [True]
    assert merge.written_bytes >= merge.printed["bytes"] > 0
    assert merge.printed["bytes"] == bytes_in(work / "merged")
    assert all(cost.seconds == 1.0 for cost in costs)
    shown = table(costs, verdicts(costs))
    assert shown.count("holds") == len(TARGETS)
    assert "misses" not in shown


def test_it_cleans_up_after_itself_and_says_what_failed(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Measured:
        (folder / "half").touch()
        return Measured(1, "", "Error: it broke\nHint: mend it\n", 2.0, 1)

    assert full_size.main(["--work", str(tmp_path / "work")], tiny_model, needed=0, run=failing) == 2
    assert "it broke" in capsys.readouterr().err
    assert list((tmp_path / "work").iterdir()) == []
    assert full_size.main(["--work", str(tmp_path / "work")], tiny_model, needed=10**18, run=failing) == 2
    assert "are free there" in capsys.readouterr().err


def test_targets_are_judged_by_what_was_measured() -> None:
    cost = Cost("train", 70.0, 10**9, 0, 10**6, {"seconds": 3.0, "atoms_bytes": 100})
    targets = [Target("train", "seconds", 60), Target("train", "atoms_bytes", 100), Target("train", "peak_bytes", 1e8)]
    judged = verdicts([cost], targets)
    assert [(value, holds) for _, value, holds in judged] == [(70.0, False), (100.0, True), (1e9, False)]
    shown = table([cost], judged)
    assert shown.count("**misses**") == 2
    assert "| `train` | 70.0 | 1.0 | 1.0 |" in shown
    assert "GPU memory" not in shown
    assert "GPU memory" in table([replace(cost, gpu_bytes=5)], judged)


def test_every_target_names_a_command_that_runs() -> None:
    assert {target.command for target in TARGETS} == set(full_size._commands())
