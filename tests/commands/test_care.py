"""merge, concepts, doctor and shell completion on the command line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import atomtune
from atomtune.doctor import checks as doctor
from atomtune.doctor.checks import Health, Problem
from atomtune.export.merged_model import MergeResult
from atomtune.training.runs import Learned
from made import made_atoms

Cli = Callable[..., Any]
LAUNCHER = Path(atomtune.__file__).parents[1] / "cli.py"


@pytest.fixture
def castle(cli: Cli, tiny_model: Path) -> Path:
    return made_atoms(Path("runs/castle/atoms.safetensors"), tiny_model)


def test_merge_writes_a_model_that_sample_takes(cli: Cli, castle: Path) -> None:
    answer = cli("merge", "--concept", "castle", "--output", "out", "--precision", "fp16", "--json")
    assert answer.code == 0, answer.err
    result = json.loads(answer.out)
    assert set(result) == {field.name for field in fields(MergeResult)}
    assert (result["output"], result["precision"]) == ("out", "fp16")
    assert cli("sample", "--model", "out", "--prompt", "a sks castle", "--steps", "2").code == 0
    again = cli("merge", "--atoms", f"{castle}:0.5", "--scale", "2", "--output", "out")
    assert again.code == 2
    assert "--overwrite" in again.err
    replaced = cli("merge", "--atoms", f"{castle}:0.5", "--scale", "2", "--output", "out", "--overwrite")
    assert replaced.code == 0
    assert '"sks castle" at 1' in replaced.out


def test_merge_without_atoms_is_wrong_usage(cli: Cli) -> None:
    answer = cli("merge", "--output", "out")
    assert (answer.code, answer.out) == (2, "")
    assert "nothing to merge" in answer.err


def test_concepts_lists_and_draws_a_sheet(cli: Cli, castle: Path) -> None:
    broken = Path("runs/broken/atoms.safetensors")
    broken.parent.mkdir()
    broken.write_bytes(b"no atoms")
    shown = cli("concepts", "--sheet")
    assert shown.code == 0, shown.err
    lines = shown.out.splitlines()
    assert lines[0].split() == ["name", "class", "noun", "token", "preset", "base", "steps", "size", "date"]
    assert lines[2].split()[:4] == ["castle", "castle", "sks", "custom"]
    assert any(line.startswith("broken: damaged, ") for line in lines)
    assert lines[-1] == "runs/concepts.png"
    assert Path(lines[-1]).is_file()
    data = json.loads(cli("concepts", "--json").out)
    assert set(data) == {"concepts", "ready", "sheet"}
    assert (data["ready"], data["sheet"], len(data["concepts"])) == (1, None, 2)
    assert all(set(run) == {field.name for field in fields(Learned)} for run in data["concepts"])


def test_concepts_of_an_empty_folder(cli: Cli) -> None:
    answer = cli("concepts")
    assert (answer.code, answer.err) == (0, "")
    assert "nothing learned yet" in answer.out
    assert cli("concepts", "--sheet").code == 1


@pytest.fixture
def health(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Health:
    """What the doctor finds, without looking."""
    devices = {"cpu_cores": 2, "memory": 8e9, "threads": 2, "cuda": "13.2", "hip": None, "cudnn": 9, "mps": False}
    gpu = {"name": "Some GPU", "bytes": 24e9, "capability": "8.9", "error": None}
    found = Health(
        atomtune="0.1.0",
        python="3.11.7",
        system="Linux",
        container=True,
        versions={"torch": "2.15.0", "peft": None},
        devices=devices | {"gpus": [gpu], "driver": "580.1"},
        caches={name: {"path": str(Path.home() / name), "bytes": 5} for name in ("hub", "atomtune")},
        free={"hub": 10**11, "atomtune": 10**11, "working folder": 10**11},
        settings={"HF_HOME": str(Path.home() / "hf")},
    )
    monkeypatch.setattr(doctor, "check_installation", lambda: found)
    return found


def test_doctor_prints_a_block_to_paste(cli: Cli, health: Health) -> None:
    health.problems.append(Problem("no GPU", "buy one", serious=False))
    answer = cli("doctor")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert (lines[0], lines[-1]) == ("```text", "```")
    for said in ("torch 2.15.0", "peft -", "Some GPU, 24.0 GB, compute capability 8.9", "~/hub", "HF_HOME=~/hf"):
        assert said in answer.out
    assert "note: no GPU" in answer.out
    assert "no problems" in answer.out
    assert str(Path.home()) not in answer.out


def test_doctor_ends_with_1_where_something_is_wrong(cli: Cli, health: Health) -> None:
    health.problems.append(Problem("torch is broken", "mend it"))
    answer = cli("doctor", "--json")
    assert answer.code == 1
    data = json.loads(answer.out)
    assert data["well"] is False
    assert data["problems"] == [{"message": "torch is broken", "hint": "mend it", "serious": True}]
    assert answer.err.splitlines()[-2] == "Error: 1 problem found"
    assert "PROBLEM: torch is broken\n  mend it" in cli("doctor").out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("atomtune me", ["merge"]),
        ("atomtune ex", ["export"]),
        ("atomtune export --concept castle-", ["castle-b"]),
        ("atomtune merge --conc", ["--concept"]),
        ("atomtune merge --concept ca", ["castle", "castle-b"]),
        ("atomtune sample --concept castle-", ["castle-b"]),
    ],
)
def test_the_shell_completes_verbs_options_and_concepts(tmp_path: Path, words: str, expected: list[str]) -> None:
    for name in ("castle", "castle-b", "mug"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "atoms.safetensors").touch()
    (tmp_path / "runs" / "cat").mkdir()
    environment = {
        **os.environ,
        "_ATOMTUNE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run(
        [sys.executable, LAUNCHER], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == expected, done.stderr
    assert done.stderr == ""


def test_the_completion_script_can_be_shown(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.completion._get_shell_name", lambda: "bash")
    with pytest.raises(SystemExit) as ended:
        cli("--show-completion")
    assert ended.value.code == 0
