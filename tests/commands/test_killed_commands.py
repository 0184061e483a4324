"""SIGKILL at random moments of every command but train: the same command then ends as it would have.

Training has tests of its own, training/test_killed.py.
"""

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from atomtune.commands.app import main
from atomtune.files.cache import CACHE_VARIABLE
from atomtune.files.store import read_header
from atomtune.pocket.world import FIRST_HELD_OUT_SEED, Style, render
from made import made_atoms

pytestmark = pytest.mark.slow
KILLS = 20
PARTS = (".atomtune.tmp", ".tmp", ".replaced", ".lock.json")
"""How the names end of what must not be left."""


class Place:
    """A working folder with a cache of its own, where commands run in processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def run(self, command: list[str], kill_after: float | None = None) -> float:
        """Run a command to its end, or kill it after some seconds; returns how long it took."""
        child = multiprocessing.get_context("fork").Process(target=self._main, args=(command,))
        began = time.monotonic()
        child.start()
        if kill_after is not None:
            child.join(kill_after)
            child.kill()
        child.join()
        allowed = (0,) if kill_after is None else (0, -signal.SIGKILL)
        assert child.exitcode in allowed, (self.folder / "errors.txt").read_text(encoding="utf-8")
        return time.monotonic() - began

    def _main(self, command: list[str]) -> None:
        os.chdir(self.folder)
        os.environ[CACHE_VARIABLE] = str(self.folder / "cache")
        errors = os.open(self.folder / "errors.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(errors, 1)
        os.dup2(errors, 2)
        os._exit(main(command))

    def left(self) -> list[str]:
        """What a process left that was killed."""
        return [str(path) for path in self.folder.rglob("*") if path.name.endswith(PARTS)]


def killed_again_and_again(
    tmp_path: Path, command: list[str], result: Callable[[Path], Any], prepare: Callable[[Path], object]
) -> tuple[Any, Any]:
    """The result of a command that is let alone, and that of one that was killed at random moments before."""
    whole, killed = Place(tmp_path / "whole"), Place(tmp_path / "killed")
    for place in (whole, killed):
        prepare(place.folder)
    seconds = whole.run(command)
    moments = random.Random(0)
    for _ in range(KILLS):
        killed.run(command, kill_after=moments.uniform(0.0, 1.1 * seconds))
    killed.run(command)
    assert killed.left() == []
    return result(whole.folder), result(killed.folder)


def tensors(path: Path) -> dict[str, Any]:
    """The tensors of a file as lists."""
    return {name: tensor.tolist() for name, tensor in load_file(path).items()}


def test_sample(tiny_model: Path, tmp_path: Path) -> None:
    def pixels(folder: Path) -> list[Any]:
        images = sorted((folder / "out").glob("[0-9]*.png"))
        assert len({image.name[:5] for image in images}) == len(images)
        whole = [np.asarray(Image.open(image)).tolist() for image in images]  # all that are there can be read
        return whole[-4:]

    command = ["sample", "--model", str(tiny_model), "--prompt", "a castle", "--num", "4", "--batch-size", "2"]
    command += ["--steps", "5", "--output", "out", "--device", "cpu"]
    whole, killed = killed_again_and_again(tmp_path, command, pixels, lambda folder: None)
    assert whole == killed


def test_decompose(tiny_model: Path, tmp_path: Path) -> None:
    def cached(folder: Path) -> dict[str, Any]:
        return {path.name: tensors(path) for path in (folder / "cache").rglob("*.safetensors")}

    command = ["decompose", "--model", str(tiny_model), "--preset", "c2", "--device", "cpu"]
    whole, killed = killed_again_and_again(tmp_path, command, cached, lambda folder: None)
    assert len(whole) == 1
    assert whole == killed


def test_merge(tiny_model: Path, tmp_path: Path) -> None:
    def merged(folder: Path) -> dict[str, Any]:
        files = {path.relative_to(folder).as_posix() for path in (folder / "merged").rglob("*") if path.is_file()}
        return {"files": sorted(files), "unet": tensors(next((folder / "merged" / "unet").glob("*.safetensors")))}

    atoms = made_atoms(tmp_path / "castle.safetensors", tiny_model)
    command = ["merge", "--atoms", str(atoms), "--model", str(tiny_model), "--output", "merged", "--overwrite"]
    whole, killed = killed_again_and_again(tmp_path, command, merged, lambda folder: None)
    assert whole == killed


def test_export(tiny_model: Path, tmp_path: Path) -> None:
    def exported(folder: Path) -> Any:
        assert [path.name for path in folder.glob("*.safetensors")] == ["lora.safetensors"]
        return read_header(folder / "lora.safetensors")["sha256"], tensors(folder / "lora.safetensors")

    atoms = made_atoms(tmp_path / "castle.safetensors", tiny_model)
    command = ["export", "--atoms", str(atoms), "--model", str(tiny_model), "--rank", "2", "--overwrite"]
    command += ["--output", "lora.safetensors", "--no-weighted", "--no-preview"]
    whole, killed = killed_again_and_again(tmp_path, command, exported, lambda folder: None)
    assert whole == killed


def concept_images(folder: Path) -> None:
    """Four images of a castle, and prompts."""
    (folder / "concepts" / "castle").mkdir(parents=True)
    for number, scene in enumerate(("", "in the snow", "on the beach", "in the jungle")):
        image = render("castle", Style(FIRST_HELD_OUT_SEED + 3), scene, FIRST_HELD_OUT_SEED + number)
        image.save(folder / "concepts" / "castle" / f"{number}.png")
    (folder / "prompts.txt").write_text("a {} in the snow\na {} on the beach\n")


def test_evaluate(tmp_path: Path) -> None:
    def prepare(folder: Path) -> None:
        concept_images(folder)
        trained = ["train", "--concept", "castle", "--model", "pocket", "--steps", "2", "--checkpoint-every", "1"]
        Place(folder).run([*trained, "--device", "cpu"])

    def scores(folder: Path) -> dict[str, float]:
        found = json.loads((folder / "runs/castle/evaluation/scores.json").read_text(encoding="utf-8"))
        return {name: found[name] for name in ("fidelity", "diversity", "alignment", "drift")}

    command = ["evaluate", "--concept", "castle", "--checkpoints", "--prompts", "prompts.txt", "--per-prompt", "1"]
    command += ["--steps", "2", "--device", "cpu"]
    whole, killed = killed_again_and_again(tmp_path, command, scores, prepare)
    assert killed == pytest.approx(whole, abs=1e-3), "kernels may round differently by batch size"


def test_compare(tmp_path: Path) -> None:
    def scores(folder: Path) -> list[tuple[str, str]]:
        found = json.loads((folder / "out" / "comparison.json").read_text(encoding="utf-8"))
        assert found["failures"] == []
        return [(run["variant"], run["sha256"]) for run in found["runs"]]

    command = ["compare", "--concepts", "castle", "--methods", "atoms:c1,bitfit", "--model", "pocket", "--steps", "2"]
    command += ["--prompts", "prompts.txt", "--per-prompt", "1", "--sample-steps", "1", "--device", "cpu"]
    command += ["--batch-size", "1", "--output", "out"]
    whole, killed = killed_again_and_again(tmp_path, command, scores, concept_images)
    assert whole == killed
