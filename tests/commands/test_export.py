"""export on the command line."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from atomtune.export.result import ExportResult
from atomtune.sampling.options import Settings
from made import made_atoms

Cli = Callable[..., Any]
PLAIN = ("--no-weighted", "--no-preview")
"""Options without which images are generated."""


@pytest.fixture
def castle(cli: Cli, tiny_model: Path) -> Path:
    return made_atoms(Path("runs/castle/atoms.safetensors"), tiny_model)


def rank_of(file: str | Path) -> int:
    with safe_open(file, framework="pt") as handle:
        return int(handle.metadata()["rank"])


def test_export_writes_a_file_beside_the_run(cli: Cli, castle: Path) -> None:
    answer = cli("export", "--concept", "castle", "--rank", "6", "--json", *PLAIN)
    assert answer.code == 0, answer.err
    result = json.loads(answer.out)
    assert set(result) == {field.name for field in fields(ExportResult)}
    assert result["output"] == "runs/castle/castle-lora.safetensors"
    assert (result["to"], result["precision"], result["rank"]) == ("lora", "fp16", 6)
    assert result["beside"] == ["runs/castle/castle-lora.json"]
    assert result["bytes"] == Path(result["output"]).stat().st_size
    assert 0 < result["relative_error"] < result["worst_error"] <= 1
    assert rank_of(result["output"]) == 6
    assert cli("concepts").code == 0, "the run is still one"
    again = cli("export", "--concept", "castle")
    assert again.code == 2
    assert "--overwrite" in again.err
    replaced = cli("export", "--concept", "castle", "--rank", "5", "--overwrite", *PLAIN)
    assert replaced.code == 0, replaced.err
    assert rank_of(result["output"]) == 5


def test_export_says_what_is_lost(cli: Cli, castle: Path) -> None:
    answer = cli("export", "--concept", "castle", "--rank", "1", "--scale", "0.5", *PLAIN)
    assert answer.code == 0, answer.err
    shown = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in answer.out.splitlines()}
    assert list(shown) == ["file", "beside", "size", "rank", "layers", "error", "energy", "base", "concepts", "time"]
    assert "% of the change" in shown["error"]
    assert " in unet." in shown["error"]
    assert shown["concepts"] == '"sks castle" at 0.5'
    assert "Warning: the relative error is 0." in answer.err
    assert "a higher --rank keeps more" in answer.err
    whole = cli("export", "--concept", "castle", "--rank", "1000", "--precision", "fp32", "--overwrite", "-q", *PLAIN)
    assert whole.code == 0
    assert whole.err.count("Warning") == whole.err.count("--to diff writes that") == 1, whole.err
    assert "error     0.00% of the change" in whole.out


def test_export_takes_files_scales_and_steps(cli: Cli, castle: Path, tiny_model: Path) -> None:
    step = made_atoms(Path("runs/castle/steps/step-000250.safetensors"), tiny_model, seed=4)
    answer = cli("export", "--concept", "castle", "--step", "250", "--rank", "2", "--json", *PLAIN)
    assert answer.code == 0, answer.err
    result = json.loads(answer.out)
    assert result["output"] == "runs/castle/castle-250-lora.safetensors"
    assert [item["file"] for item in result["atoms"]] == [step.name]
    both = ("--atoms", f"{step}:0.5", "--output", "both.safetensors", "--rank", "2")
    several = cli("export", "--concept", "castle", *both, "--json", *PLAIN)
    assert several.code == 0, several.err
    assert [item["scale"] for item in json.loads(several.out)["atoms"]] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to export"),
        (["--atoms", "runs/castle/atoms.safetensors"], "it is not clear where to"),
        (["--concept", "castle", "--concept", "mug"], "it is not clear where to"),
        (["--concept", "castle", "--output", "castle.ckpt"], "castle.ckpt is no name for an export"),
        (["--concept", "castle", "--output", "runs/castle/atoms.safetensors", "--overwrite"], "did not write"),
        (["--concept", "castle", "--rank", "0"], "--rank"),
        (["--concept", "castle", "--to", "onnx"], "--to"),
        (["--concept", "castle", "--precision", "bf16"], "--precision"),
        (["--concept", "castle", "--step", "7"], "keeps no atoms of step 7"),
        (["--atoms", "a.safetensors", "--step", "7", "--output", "b.safetensors"], "--step needs --concept"),
    ],
)
def test_wrong_usage_of_export(cli: Cli, castle: Path, arguments: list[str], said: str) -> None:
    before = castle.read_bytes()
    Path("runs/mug").mkdir()
    answer = cli("export", *arguments)
    assert (answer.code, answer.out) == (2, "")
    error, hint = answer.err.splitlines()
    assert error.startswith("Error: ")
    assert said in error
    assert hint.startswith("Hint: ")
    assert castle.read_bytes() == before
    assert [path.name for path in castle.parent.iterdir()] == [castle.name]


def test_what_is_no_lora_is_one_error_and_one_hint(cli: Cli) -> None:
    answer = cli("export", "--concept", "nothing")
    assert answer.code == 1
    assert len(answer.err.splitlines()) == 2


def test_export_is_as_near_as_asked_for_without_more_said(
    cli: Cli, castle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atomtune.export.image_difference.SETTINGS", Settings(steps=1))
    answer = cli("export", "--concept", "castle", "--json")
    assert answer.code == 0, answer.err
    result = json.loads(answer.out)
    assert result["psnr"] >= 30
    assert 0 < result["weighted_error"] < 1
    assert result["beside"] == ["runs/castle/castle-lora.json", "runs/castle/castle-lora.preview.png"]


def test_what_is_worse_than_promised_is_said_with_its_figures(cli: Cli, castle: Path) -> None:
    """Changes this small are few of float16's steps."""
    arguments = ("export", "--concept", "castle", "--to", "diff", "--scale", "1e-5", "--no-preview", "--json")
    answer = cli(*arguments)
    assert answer.code == 1
    result = json.loads(answer.out)
    assert result["relative_error"] > 2e-3
    assert "runs/castle/castle-diff.safetensors is worse than promised: the relative error is" in answer.err
    assert "Hint: use --precision fp32" in answer.err
    assert cli(*arguments, "--precision", "fp32", "--overwrite").code == 0


def test_the_former_option_is_answered(cli: Cli, castle: Path) -> None:
    answer = cli("export", "--concept", "castle", "--format", "diffusers")
    assert answer.code == 2
    assert answer.err.splitlines() == [
        "Error: there is no option --format",
        "Hint: here it is --to lora for kohya, --to lora-diffusers for diffusers",
    ]
