"""What atomtune 0.1.0 wrote still loads, generates the same images, resumes and merges.

The files are in tests/fixtures/v0.1, with the program that made them. A later version may write them otherwise, but it
reads these.
"""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from atomtune.files.checkpoint import load_checkpoint, save_checkpoint

FILES = Path(__file__).parents[1] / "fixtures" / "v0.1"
VARIANTS = sorted(path.stem for path in (FILES / "atoms").glob("*.safetensors"))
RUNS = [
    "interrupted-atoms",
    "interrupted-lora",
    pytest.param(
        "interrupted-everything",
        marks=pytest.mark.skipif(
            int(version("transformers").split(".")[0]) < 5,
            reason="written with transformers 5, whose text encoders name their layers otherwise than before",
        ),
    ),
]
METHODS = {"lora", "loha", "lokr", "oft", "coft", "bitfit", "difffit", "loldu", "full", "textual-inversion"}
PROMPT = "a photo of a <castle> in the snow"

Cli = Callable[..., Any]


@pytest.fixture
def old(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line in a folder that holds a copy of the old files, with the old cache."""
    for name in ("model", "images", "atoms", "runs", "cache"):
        shutil.copytree(FILES / name, name)
    monkeypatch.setenv("ATOMTUNE_CACHE", str(Path("cache").absolute()))
    return cli


def generated(cli: Cli, *arguments: object, prompt: str = PROMPT) -> Path:
    """The image that the command line makes of these atoms."""
    shutil.rmtree("generated", ignore_errors=True)
    shared = ("--prompt", prompt, "--steps", 4, "--seed", 3, "--device", "cpu", "--output", "generated")
    answer = cli("sample", *arguments, *shared)
    assert answer.code == 0, answer.err
    (path,) = Path("generated").glob("*.png")
    return path


def pixels(path: Path) -> Any:
    return np.asarray(Image.open(path).convert("RGB"), dtype=int)


def difference(path: Path, expected: str) -> int:
    """The largest difference of two images, in levels of 255."""
    one, other = pixels(path), pixels(FILES / expected)
    assert one.shape == other.shape
    return int(np.abs(one - other).max())


def is_same(path: Path, name: str) -> bool:
    """Whether an image is what 0.1.0 made of it, but for rounding; the base model's differs by 62 levels and more."""
    return difference(path, f"expected/{name}.png") <= 2


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def test_a_file_of_every_method_is_there() -> None:
    assert METHODS | {"c1", "c2", "c3", "c4", "sparse", "everything"} <= set(VARIANTS)
    assert all(difference(FILES / f"expected/{name}.png", "expected/base.png") > 60 for name in VARIANTS)


@pytest.mark.parametrize("name", VARIANTS)
def test_old_atoms_generate_the_same_image(name: str, old: Cli) -> None:
    path = f"atoms/{name}.safetensors"
    assert is_same(generated(old, "--atoms", path), name)
    answer = old("inspect", path)
    assert answer.code == 0
    assert (name if name in METHODS else "atoms") in answer.out


def test_at_scale_0_old_atoms_leave_the_base_model_as_it_is(old: Cli) -> None:
    assert is_same(generated(old, "--atoms", "atoms/c3.safetensors:0"), "base")


def test_old_atoms_add_up(old: Cli) -> None:
    atoms = ("--atoms", "atoms/c2.safetensors:0.5", "--atoms", "atoms/lora.safetensors:0.5")
    assert is_same(generated(old, *atoms), "two")


@pytest.mark.parametrize("name", ["c2", "c3", "full", "everything"])
def test_old_atoms_merge_into_a_model(name: str, old: Cli) -> None:
    answer = old("merge", "--atoms", f"atoms/{name}.safetensors", "--output", "merged")
    assert answer.code == 0, answer.err
    assert is_same(generated(old, "--model", "merged", prompt="a photo of a sks castle in the snow"), name)


def test_old_atoms_export_as_a_lora(old: Cli) -> None:
    plain = ("--rank", "8", "--no-weighted", "--no-preview")
    answer = old("export", "--atoms", "atoms/c2.safetensors", "--output", "lora.safetensors", *plain)
    assert answer.code == 0, answer.err
    assert Path("lora.safetensors").is_file()


@pytest.mark.parametrize("run", RUNS)
def test_an_old_run_that_was_interrupted_resumes(run: str, old: Cli) -> None:
    answer = old("train", "--concept", "castle", "--output", f"runs/{run}", "--resume")
    assert answer.code == 0, answer.err
    assert is_same(generated(old, "--atoms", f"runs/{run}/castle.safetensors"), run)


def test_a_run_resumes_with_another_version_of_torch(old: Cli) -> None:
    path = Path("runs/interrupted-lora/checkpoint.safetensors")
    state = load_checkpoint(path)
    schedule = {key: value for key, value in state.schedule.items() if key != "_is_initial"} | {"verbose": False}
    save_checkpoint(path, replace(state, schedule=schedule))  # as torch 2.6 has it
    answer = old("train", "--concept", "castle", "--output", path.parent, "--resume")
    assert answer.code == 0, answer.err
    assert is_same(generated(old, "--atoms", path.with_name("castle.safetensors")), path.parent.name)


def test_an_old_run_that_finished_can_be_read_at_every_step(old: Cli) -> None:
    assert "castle" in old("concepts").out
    last = pixels(generated(old, "--concept", "castle"))
    assert (pixels(generated(old, "--concept", "castle", "--step", 4)) == last).all()
    assert (pixels(generated(old, "--concept", "castle", "--step", 2)) != last).any()


def test_an_old_run_that_finished_goes_on_with_the_images_of_its_cache(old: Cli) -> None:
    before = digests(Path("cache/prior"))
    answer = old("train", "--concept", "castle", "--resume", "--steps", 8)
    assert answer.code == 0, answer.err
    assert is_same(generated(old, "--concept", "castle"), "extended")
    assert digests(Path("cache/prior")) == before


@pytest.mark.parametrize("options", [(), ("--layers", "attention", "--sparsity", 0.05)])
def test_a_new_decomposition_stands_beside_an_old_one_in_the_cache(options: tuple[object, ...], old: Cli) -> None:
    """The atoms of 0.1 were others, so a new run does not take them; those of old runs stay where they are."""
    before = digests(Path("cache"))
    as_c1_was = ("--preset", "c1", "--layers", "all", "--tile-atoms", "same", "--pointwise", "tiles")
    answer = old("decompose", "--model", "model", *as_c1_was, *options)
    assert answer.code == 0, answer.err
    assert "Warning" not in answer.err
    after = digests(Path("cache"))
    assert len(after) == len(before) + 1
    assert before.items() <= after.items()
    for path in Path("cache/decompositions").iterdir():
        assert old("inspect", path).code == 0


def test_an_old_run_does_not_go_on_with_other_atoms_than_it_began_with(old: Cli) -> None:
    shutil.rmtree("cache/decompositions")
    answer = old("train", "--concept", "castle", "--output", "runs/interrupted-atoms", "--resume")
    assert answer.code == 1
    assert "the run began with atoms of another version" in answer.err
