"""What `atomtune concepts` finds, and the sheet it draws."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from atomtune.errors import AtomtuneError
from atomtune.files.atoms_file import AtomsInfo, save_atoms
from atomtune.files.checkpoint import Checkpoint, save_checkpoint
from atomtune.training.runs import IMAGES, THUMBNAIL, learned, thumbnail_sheet


def info(**changes: Any) -> AtomsInfo:
    values: dict[str, Any] = {
        "method": "atoms",
        "preset": "c2",
        "spec": {},
        "base": "pocket",
        "base_fingerprint": "0" * 64,
        "architecture": "tiny",
        "concept": "castle",
        "class_noun": "castle",
        "token": "sks",
        "prompts": ["a photo of a sks castle"],
        "steps": 1000,
        "parameters": 9,
        "training": {},
        "created": "2026-01-02T03:04:05+00:00",
    }
    return AtomsInfo(**values | changes)


def finished(runs: Path, name: str, **changes: Any) -> Path:
    save_atoms(runs / name / "atoms.safetensors", info(**changes), {"layer.delta_atoms": torch.ones(3, 3)})
    return runs / name


def unfinished(runs: Path, name: str, step: int | None = None) -> Path:
    (runs / name).mkdir(parents=True)
    concept = {"name": "mug", "class_noun": "cup", "token": "sks"}
    record = {"options": {"concept": concept, "steps": 500, "model": "pocket"}}
    (runs / name / "run.json").write_text(json.dumps(record), encoding="utf-8")
    if step is not None:
        state = Checkpoint(step, {}, {"state": {}, "param_groups": []}, {}, [0.5] * step, 1.0)
        save_checkpoint(runs / name / "checkpoint.safetensors", state)
    return runs / name


def image(path: Path, colour: tuple[int, int, int], age: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48), colour).save(path)
    os.utime(path, ns=(10**18 - age, 10**18 - age))


def test_runs_are_listed_by_name_and_other_folders_are_not(tmp_path: Path) -> None:
    finished(tmp_path, "castle-b", preset="c3", steps=40)
    finished(tmp_path, "castle")
    (tmp_path / "samples").mkdir()
    (tmp_path / "concepts.png").touch()
    runs = learned(tmp_path)
    assert [(run.name, run.status, run.preset, run.steps) for run in runs] == [
        ("castle", "ready", "c2", 1000),
        ("castle-b", "ready", "c3", 40),
    ]
    first = runs[0]
    assert (first.concept, first.class_noun, first.token, first.base) == ("castle", "castle", "sks", "pocket")
    assert first.bytes == (tmp_path / "castle" / "atoms.safetensors").stat().st_size
    assert first.created.startswith("2026-01-02")
    assert learned(tmp_path / "nowhere") == []


def test_damaged_runs_are_listed_with_the_reason(tmp_path: Path) -> None:
    altered = finished(tmp_path, "altered") / "atoms.safetensors"
    content = altered.read_bytes()
    altered.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    cut = finished(tmp_path, "cut") / "atoms.safetensors"
    cut.write_bytes(cut.read_bytes()[:50])
    (unfinished(tmp_path, "no-json") / "run.json").write_text("{", encoding="utf-8")
    (unfinished(tmp_path, "not-options") / "run.json").write_text('{"options": []}', encoding="utf-8")
    runs = {run.name: run for run in learned(tmp_path)}
    assert {run.status for run in runs.values()} == {"damaged"}
    reasons = {"altered": "checksum", "cut": "truncated", "no-json": "damaged", "not-options": "incomplete"}
    assert all(word in runs[name].reason for name, word in reasons.items())


def test_unfinished_runs_say_how_far_they_are(tmp_path: Path) -> None:
    unfinished(tmp_path, "begun")
    unfinished(tmp_path, "half", step=7)
    begun, half = learned(tmp_path)
    assert (begun.status, half.status) == ("unfinished", "unfinished")
    assert "step 0 of 500" in begun.reason
    assert "step 7 of 500" in half.reason
    assert (half.concept, half.class_noun, half.base, half.steps) == ("mug", "cup", "pocket", 7)


def test_the_sheet_shows_the_newest_samples_or_what_training_drew(tmp_path: Path) -> None:
    red, green, blue, grey = (255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)
    samples = finished(tmp_path, "a") / "samples"
    image(samples / "00000-0-x.png", grey, age=9)
    image(samples / "00001-0-x.png", red, age=1)
    image(samples / "00002-0-x-base.png", blue, age=0)
    image(samples / "grid-00003.png", blue, age=0)
    (samples / "00004-0-broken.png").write_bytes(b"no image")
    previews = finished(tmp_path, "b") / "previews"
    image(previews / "step-000100-0.png", grey, age=5)
    image(previews / "step-000200-0.png", green, age=5)
    finished(tmp_path, "c")
    unfinished(tmp_path, "d")
    path = thumbnail_sheet(learned(tmp_path), tmp_path / "concepts.png")
    with Image.open(path) as sheet:
        assert sheet.width < (IMAGES + 1) * THUMBNAIL
        colours = [colour for _, colour in sheet.convert("RGB").getcolors(10**6) or []]
        middle = 8 + THUMBNAIL // 2
        column = [sheet.convert("RGB").getpixel((middle, y)) for y in range(sheet.height)]
    assert blue not in colours
    assert column.index(red) < column.index(green), "rows are in the order of the names"
    assert grey not in column, "the newest image comes first"
    assert grey in colours


def test_a_sheet_of_nothing_is_refused(tmp_path: Path) -> None:
    unfinished(tmp_path, "begun")
    with pytest.raises(AtomtuneError, match="no concept to show"):
        thumbnail_sheet(learned(tmp_path), tmp_path / "concepts.png")
