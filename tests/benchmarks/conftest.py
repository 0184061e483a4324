"""The processes that benchmarks start, run in this one, which spares it their starts."""

import importlib
from collections.abc import Mapping, Sequence
from contextlib import chdir
from pathlib import Path

import pytest

from atomtune.commands.app import main as atomtune
from benchmarks.measure import Measured
from benchmarks.processes import Runner


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Runs the same commands here; each takes a second and a gigabyte, as it says."""

    def here(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Measured:
        capfd.readouterr()
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        name, words = command[2], list(command[3:])
        with chdir(folder):
            code = atomtune(words) if name == "cli" else importlib.import_module(name).main(words)
        out, err = capfd.readouterr()
        return Measured(code, out, err, 1.0, 10**9)

    return here
