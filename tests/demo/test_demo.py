"""The demo, shortened: what its page holds. Whether the concept is learned is the slow test's business."""

import re
from pathlib import Path

import pytest
from PIL import Image

from atomtune.demo.demo import PROMPT_SCENES, run_demo
from atomtune.demo.other_methods import RATES
from atomtune.errors import UsageError
from atomtune.evaluation.image_sets import DRIFT_PROMPTS
from atomtune.files.atoms_file import load_atoms
from atomtune.pocket.concept import TRAINING_SCENES
from atomtune.pocket.world import SCENES


def test_the_page_is_complete_and_needs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atomtune.demo.demo.SAMPLE_STEPS", 2)
    result = run_demo(tmp_path / "demo", steps=2, batch_size=1)
    page = result.index.read_text(encoding="utf-8")
    assert page.count("data:image/webp;base64,") == (
        len(TRAINING_SCENES) + 3 * len(PROMPT_SCENES) + 2 * len(DRIFT_PROMPTS)
    )
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", page), "the page must not ask for anything"
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert f"{result.trainable_parameters:,}" in page
    _, info, _ = load_atoms(result.atoms_file)
    assert (info.preset, info.base, info.steps) == ("c2", "pocket", 2)
    assert result.atoms_bytes == result.atoms_file.stat().st_size
    assert len(list((tmp_path / "demo" / "concept").glob("*.png"))) == len(TRAINING_SCENES)
    with pytest.raises(UsageError, match="there already"):
        run_demo(tmp_path / "demo", steps=2)
    (tmp_path / "demo" / "notes.txt").write_text("mine")
    again = run_demo(tmp_path / "demo", steps=1, batch_size=1, overwrite=True)
    assert load_atoms(again.atoms_file)[1].steps == 1
    assert (tmp_path / "demo" / "notes.txt").read_text() == "mine"


def test_other_methods_are_shown_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atomtune.demo.demo.SAMPLE_STEPS", 1)
    monkeypatch.setattr("atomtune.demo.demo.IMAGES_OF_EACH", 1)
    result = run_demo(tmp_path / "demo", steps=1, batch_size=1, compare=True)
    assert [other["method"] for other in result.other_methods] == list(RATES)
    lora, full = result.other_methods
    assert lora["trainable_parameters"] < full["trainable_parameters"]
    page = result.index.read_text(encoding="utf-8")
    assert page.count("data:image/webp;base64,") == (
        len(TRAINING_SCENES) + (3 + len(RATES)) * len(PROMPT_SCENES) + 2 * len(DRIFT_PROMPTS)
    )
    for other in result.other_methods:
        run = tmp_path / "demo" / f"run-{other['method']}" / "castle.safetensors"
        assert (load_atoms(run)[1].method, run.stat().st_size) == (other["method"], other["atoms_bytes"])
        assert f"{other['trainable_parameters']:,}" in page
        assert f"{other['fidelity']:.2f}" in page
    sets = list((tmp_path / "demo" / "images").iterdir())
    assert len(sets) == 2 * (2 + len(RATES)), "the base model's images serve all"


def test_scenes_of_the_prompts_are_not_those_of_the_images() -> None:
    assert not set(PROMPT_SCENES) & set(TRAINING_SCENES)
    assert set(PROMPT_SCENES) | set(TRAINING_SCENES) <= set(SCENES)


def test_an_unknown_thing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="knows no 'unicorn'") as problem:
        run_demo(tmp_path / "demo", thing="unicorn")
    assert "castle" in (problem.value.hint or "")


@pytest.mark.slow
def test_the_concept_is_learned(tmp_path: Path) -> None:
    result = run_demo(tmp_path / "demo")
    base, ours, truth = result.fidelity
    assert ours - base > 0.5 * (truth - base), "the images are not much nearer to the thing than the base model's"
    assert result.scenes_right[1] >= len(PROMPT_SCENES) - 1
    with Image.open(next((tmp_path / "demo" / "images").rglob("*.png"))) as image:
        assert image.size == (64, 64)


@pytest.mark.parametrize(
    "theirs",
    ["concept/01.png", "concept/mine.jpg", "run/castle.safetensors", "prompts.txt", "images/a.png", "index.html"],
)
def test_what_the_demo_did_not_write_stays(theirs: str, tmp_path: Path) -> None:
    path = tmp_path / "work" / theirs
    path.parent.mkdir(parents=True)
    path.write_text("theirs")
    for overwrite in (False, True):
        with pytest.raises(UsageError):
            run_demo(tmp_path / "work", steps=1, batch_size=1, overwrite=overwrite)
        assert path.read_text() == "theirs"
        assert [file for file in (tmp_path / "work").rglob("*") if file.is_file()] == [path]
