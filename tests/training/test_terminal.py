"""A run outlives its terminal: processes whose stderr is gone, full, closed or of another encoding."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import atomtune
from atomtune.files.atoms_file import load_atoms
from atomtune.training.options import TrainOptions
from atomtune.training.train import train

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="terminals are others there")]

Options = Callable[..., TrainOptions]
LAUNCHER = Path(atomtune.__file__).parents[1] / "cli.py"


def command(asked: TrainOptions, run: Path) -> list[str]:
    words = f"train --concept castle --images {asked.images} --model {asked.model} --device cpu"
    words += f" --steps {asked.steps} --batch-size {asked.batch_size} --checkpoint-every 1000 --output {run}"
    return [sys.executable, str(LAUNCHER), *words.split()]


def digest(run: Path) -> str:
    return load_atoms(run / "castle.safetensors")[2]


@pytest.mark.parametrize(
    ("redirection", "environment"),
    [
        ("2>/dev/full", {}),
        ("2>&-", {}),
        ("<&- >&- 2>&-", {}),
        ("2>/dev/null", {"PYTHONIOENCODING": "ascii:strict"}),
        ("2>/dev/null", {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    ],
    ids=["full", "closed", "all closed", "ascii", "posix"],
)
def test_a_run_ends_as_it_would_have(
    redirection: str, environment: dict[str, str], options: Options, tmp_path: Path
) -> None:
    run = tmp_path / "burg-é-猫"
    whole = train(options(), tmp_path / "whole")
    shell = ["sh", "-c", f'exec "$@" {redirection}', "sh", *command(options(), run)]
    ended = subprocess.run(shell, env={**os.environ, **environment}, stdout=subprocess.PIPE, check=False)
    assert ended.returncode == 0
    assert digest(run) == whole.sha256


def test_a_run_goes_on_when_the_reader_of_its_output_is_killed(options: Options, tmp_path: Path) -> None:
    whole, run = train(options(), tmp_path / "whole"), tmp_path / "run"
    process: subprocess.Popen[Any] = subprocess.Popen(
        command(options(), run), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    process.stderr.readline()
    process.stderr.close()
    assert process.wait() == 0
    assert digest(run) == whole.sha256
