"""The target for atheris: its seeds pass, and a bounded run of it finds nothing."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz import atheris_target


def test_every_target_reads_its_seed_and_refuses_others(tmp_path: Path) -> None:
    chosen = atheris_target.targets(tmp_path)
    atheris_target.seeds(tmp_path / "corpus")
    inputs = [path.read_bytes() for path in sorted((tmp_path / "corpus").iterdir())]
    assert sorted(data[0] for data in inputs) == list(range(len(chosen)))
    for data in inputs:
        atheris_target.one_input(chosen, data)
        atheris_target.one_input(chosen, data[: len(data) // 2])
    for number in range(len(chosen)):
        atheris_target.one_input(chosen, bytes([number]) + b"\xff" * 9)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is missing: pip install 'atomtune[fuzz]'"
)
def test_a_bounded_run_of_atheris_finds_nothing(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    command = [sys.executable, atheris_target.__file__, "-runs=5000", "-max_len=20000", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run([*command, str(corpus)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Done 5000 runs" in done.stderr
