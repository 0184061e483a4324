"""Without the hub every command that wants it says so in one line and a hint, at once, and no library says anything.

The hub is a port of this machine where nobody listens.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import atomtune
from made import made_atoms

Cli = Callable[..., Any]

GONE = "someone/gone"
OURS = ("2 images of 2 classes", "Reading ", "Loading ", "Encoding ", "Decomposing ", "Teaching ", "Warning: ")


@pytest.fixture
def address() -> str:
    """Where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def no_hub(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is in the cache, and the hub is not there. Whoever would wait for another attempt fails."""
    from huggingface_hub import constants

    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.setattr(constants, name, str(tmp_path / "empty"), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits for another attempt"))


@pytest.fixture
def castle(cli: Cli, tiny_model: Path) -> None:
    """Images of a concept and a run of it in the working folder."""
    folder = Path("concepts/castle")
    folder.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (40, 40), (50 * number, 90, 200 - 30 * number)).save(folder / f"{number}.png")
    options = {"concept": {"name": "castle", "class_noun": "castle", "token": "sks"}, "images": str(folder)}
    made_atoms(Path("runs/castle/castle.safetensors"), tiny_model)
    Path("runs/castle/run.json").write_text(json.dumps({"base_fingerprint": "x", "options": options}), encoding="utf-8")


def says_so(err: str, repository: str) -> None:
    """Assert that what a command said is its own, and that it ends in one error and its hint."""
    *before, error, hint = err.splitlines()
    assert repository in error
    assert error.startswith("Error: cannot load ")
    assert "could not be reached" in error
    assert hint.startswith("Hint: ")
    assert all(line.startswith(OURS) for line in before), before


@pytest.mark.parametrize(
    "words",
    [
        "decompose --model {gone}",
        "prepare --concept castle --model {gone}",
        "train --concept castle --model {gone}",
        "train --concept castle --model {gone} --dry-run",
        "train --concept castle --model {gone} --dry-run --measure --resolution 32",
        "train --concept castle --model {tiny} --vae {gone} --output out",
        "sample --model {gone} --prompt cat",
        "sample --concept castle --model {gone} --prompt cat",
        "sample --model {tiny} --vae {gone} --prompt cat",
        "evaluate --concept castle --model {gone}",
        "evaluate --concept castle --model {tiny}",
        "evaluate --images concepts/castle --references concepts/castle --model {tiny}",
        "compare --concept castle --model {gone} --output out",
        "compare --concept castle --model {tiny} --output out",
        "merge --concept castle --model {gone} --output out",
        "export --concept castle --model {gone} --output out.safetensors",
        "export --concept castle --to checkpoint --model {gone} --output out.safetensors",
        "publish --concept castle --model {gone} --licence mit",
        "serve --model {gone} --port 0",
        "classify train --name pets --images {classes} --model timm:test_resnet.r160_in1k",
    ],
)
def test_a_command_says_that_the_hub_is_not_there(
    words: str, cli: Cli, castle: None, no_hub: None, tiny_model: Path, tmp_path: Path
) -> None:
    if "{classes}" in words:
        pytest.importorskip("timm")
        for name in ("cat", "dog"):
            (tmp_path / "classes" / name).mkdir(parents=True)
            Image.new("RGB", (40, 40), (name == "cat" and "red") or "blue").save(tmp_path / "classes" / name / "0.png")
    answer = cli(*words.format(gone=GONE, tiny=tiny_model, classes=tmp_path / "classes").split())
    assert (answer.code, answer.out) == (1, "")
    says_so(answer.err, "" if "{gone}" not in words else GONE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("train --concept castle --model someone/gone", 1),
        ("publish --concept castle --to hub --repository org/mug --yes --no-lora --model {tiny}", 1),
    ],
    ids=["train", "publish"],
)
def test_the_libraries_say_nothing_in_a_process_of_its_own(
    words: str, code: int, castle: None, address: str, tiny_model: Path, tmp_path: Path
) -> None:
    launcher = Path(atomtune.__file__).parents[1] / "cli.py"
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
    environment |= {"NO_PROXY": "127.0.0.1"}
    command = [sys.executable, launcher, *words.format(tiny=tiny_model).split()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == code, done.stderr
    *before, error, hint = done.stderr.splitlines()
    assert error.startswith(("Error: cannot load someone/gone", f"Error: cannot publish to {address}/org/mug: "))
    assert hint.startswith("Hint: ")
    assert all(line.startswith((*OURS, "Generating ")) for line in before), before
