"""`atomtune compare --task classify`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from atomtune.files.run_result import result_in

Command = Callable[..., Any]


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Four images each of two classes."""
    for number, name in enumerate(("dark", "light")):
        (tmp_path / "tones" / name).mkdir(parents=True)
        for index in range(4):
            pixels = np.random.default_rng([number, index]).integers(120 * number, 130 + 120 * number, (32, 32, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "tones" / name / f"{index}.png")
    return tmp_path / "tones"


def compared(cli: Command, classes: Path, *more: str) -> Any:
    given = ["--images", classes, "--test-images", classes, "--model", "timm:test_resnet", "--weights", "random"]
    short = ["--image-size", 32, "--epochs", 1, "--batch-size", 4, "--augment", "none", "--device", "cpu"]
    return cli("compare", "--task", "classify", *given, *short, "--json", *more)


def test_methods_are_trained_and_scored_on_the_same_classes(cli: Command, classes: Path) -> None:
    answer = compared(cli, classes, "--methods", "linear-probe,loldu", "--seeds", "0,1", "--lr", "loldu=1e-2")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert [(one["variant"], one["runs"], one["lr"]) for one in found["variants"]] == [
        ("linear-probe", 2, 1e-3),
        ("loldu", 2, 1e-2),
    ]
    assert found["variants"][0]["parameters"] == 0 < found["variants"][1]["parameters"]
    accuracies = [run["accuracy"] for run in found["runs"] if run["variant"] == "loldu"]
    assert found["variants"][1]["accuracy"] == pytest.approx(sum(accuracies) / 2)
    folder = Path("classifiers/comparison")
    assert "loldu" in (folder / "comparison.html").read_text(encoding="utf-8")

    # the same command with another method trains that one alone
    results = [result_in(run) for run in folder.glob("seed-*/*/")]
    assert len(results) == 4, "two methods, two seeds"
    before = {path: path.stat().st_mtime_ns for path in results}
    answer = compared(cli, classes, "--methods", "linear-probe,loldu,bitfit", "--seeds", "0", "--lr", "loldu=1e-2")
    assert [one["variant"] for one in json.loads(answer.out)["variants"]] == ["linear-probe", "loldu", "bitfit"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    answer = compared(cli, classes, "--methods", "loldu", "--lr", "loldu=1e-3")
    assert answer.code == 2
    assert "lr was 0.01, now 0.001" in answer.err


def test_options_of_the_other_task_are_refused(cli: Command, classes: Path) -> None:
    answer = compared(cli, classes, "--concept", "castle")
    assert (answer.code, "--concept does not go with --task classify" in answer.err) == (2, True)
    answer = cli("compare", "--concept", "castle", "--epochs", 3)
    assert (answer.code, "--epochs needs --task classify" in answer.err) == (2, True)
    answer = compared(cli, classes, "--methods", "lora:token")
    assert (answer.code, "is for diffusion models" in answer.err) == (2, True)
    assert cli("compare", "--task", "classify", "--model", "timm:x").code == 2
