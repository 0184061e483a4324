"""The script of docs/python-api.md does what the command line does, to the last bit."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from atomtune.files.atoms_file import load_atoms

PAGE = Path(__file__).parents[2] / "docs" / "python-api.md"


def script() -> str:
    """The first Python block of the page, with two steps in place of many."""
    block = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert block is not None
    return re.sub(r"steps=\d+", "steps=2", block[1])


def test_the_script_of_the_page_equals_train_and_sample_bit_for_bit(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = script()
    assert len(code.splitlines()) <= 25
    folder = Path("photos/castle")
    folder.mkdir(parents=True)
    for number in range(4):
        Image.linear_gradient("L").rotate(30 * number).resize((64, 64)).convert("RGB").save(folder / f"{number}.png")
    exec(compile(code, "python-api.md", "exec"), {"__name__": "__main__"})

    command = ["--concept", "castle", "--images", folder, "--model", "pocket", "--steps", 2, "--batch-size", 4]
    answer = cli("train", *command, "--output", "runs/again")
    assert answer.code == 0, answer.err
    ours, _, checksum = load_atoms(Path("runs/castle/castle.safetensors"))
    assert ours
    assert load_atoms(Path("runs/again/castle.safetensors"))[2] == checksum

    atoms, prompt = "runs/again/castle.safetensors", "a <castle> in the snow"
    answer = cli("sample", "--atoms", atoms, "--prompt", prompt, "--steps", 2, "--output", "images", "-q")
    assert answer.code == 0, answer.err
    (path,) = Path("images").glob("*.png")
    with Image.open("castle.png") as first, Image.open(path) as second:
        assert first.size == second.size == (64, 64)
        assert ImageChops.difference(first, second).getbbox() is None
