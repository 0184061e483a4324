"""The command line in this process, for fixtures that outlive a test; `cli` of conftest is for tests."""

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import torch

from atomtune.commands.app import main


def run_here(folder: Path, *arguments: object) -> str:
    """What a command prints that is run with `folder` as working folder and a cache there. It must succeed."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setenv("ATOMTUNE_CACHE", str(folder / "cache"))
        torch.set_num_threads(1)
        try:
            code = main([str(argument) for argument in arguments])
        finally:
            torch.set_num_threads(threads)
    texts = []
    for stream in (out, err):
        stream.seek(0)
        texts.append(stream.read())
    assert code == 0, texts[1]
    return texts[0]
