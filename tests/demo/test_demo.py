"""The demo, shortened: what its page holds. Whether the concept is learned is the slow test's business."""

import re
from pathlib import Path

import pytest
from PIL import Image

from atomtune.commands.demo import _text
from atomtune.demo.demo import PROMPT_SCENES, run_demo
from atomtune.demo.other_methods import RATES
from atomtune.errors import UsageError
from atomtune.evaluation import image_sets
from atomtune.files.atoms_file import load_atoms
from atomtune.pocket.concept import TRAINING_SCENES
from atomtune.pocket.world import SCENES


@pytest.fixture
def drift(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many prompts drift is measured on in short demos of one image and one denoising step."""
    monkeypatch.setattr("atomtune.demo.demo.SAMPLE_STEPS", 1)
    monkeypatch.setattr("atomtune.demo.demo.IMAGES_OF_EACH", 1)
    monkeypatch.setattr(image_sets, "DRIFT_PROMPTS", image_sets.DRIFT_PROMPTS[:3])
    return 3


def test_the_page_is_complete_and_needs_nothing_else(tmp_path: Path, drift: int) -> None:
    result = run_demo(tmp_path / "demo", steps=2, batch_size=1)
    page = result.index.read_text(encoding="utf-8")
    assert page.count("data:image/webp;base64,") == len(TRAINING_SCENES) + 3 * len(PROMPT_SCENES) + 2 * drift
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", page), "the page must not ask for anything"
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert f"{result.trainable_parameters:,}" in page
    _says_what_the_page_says(_text(result), page)
    _, info, _ = load_atoms(result.atoms_file)
    assert (info.preset, info.base, info.steps) == ("c2", "pocket", 2)
    assert result.atoms_bytes == result.atoms_file.stat().st_size
    assert len(list((tmp_path / "demo" / "concept").glob("*.png"))) == len(TRAINING_SCENES)
    with pytest.raises(UsageError, match="there already"):
        run_demo(tmp_path / "demo", steps=2)
    # again, with other methods
    (tmp_path / "demo" / "notes.txt").write_text("mine")
    sets = set((tmp_path / "demo" / "images").iterdir())
    result = run_demo(tmp_path / "demo", steps=1, batch_size=1, compare=True, overwrite=True)
    assert load_atoms(result.atoms_file)[1].steps == 1
    assert (tmp_path / "demo" / "notes.txt").read_text() == "mine"
    assert [other["method"] for other in result.other_methods] == list(RATES)
    lora, full = result.other_methods
    assert lora["trainable_parameters"] < full["trainable_parameters"]
    page = result.index.read_text(encoding="utf-8")
    assert page.count("data:image/webp;base64,") == (
        len(TRAINING_SCENES) + (3 + len(RATES)) * len(PROMPT_SCENES) + 2 * drift
    )
    for other in result.other_methods:
        run = tmp_path / "demo" / f"run-{other['method']}" / "castle.safetensors"
        assert (load_atoms(run)[1].method, run.stat().st_size) == (other["method"], other["atoms_bytes"])
        assert f"{other['trainable_parameters']:,}" in page
        assert f"{other['fidelity']:.2f}" in page
    more = set((tmp_path / "demo" / "images").iterdir()) - sets
    assert len(more) == 2 * (1 + len(RATES)), "the base model's images serve all"


def _says_what_the_page_says(text: str, page: str) -> None:
    """Assert that the terminal has the page's words and numbers for likeness, column by column."""
    table = page.split("<h2>Figures</h2>")[1].split("</table>")[0]
    header, fidelity, *_ = (re.findall(r"<t[hd][^>]*>([^<]*)<", row) for row in table.split("<tr>")[1:])
    lines = [re.split(r"  +", line.strip()) for line in text.splitlines()]
    assert lines[0] == header[1:] == ["with the concept", "base model", "the real one"]
    assert lines[2] == ["fidelity", *(cell.strip() for cell in fidelity[1:])]
    right = page.split("named right by the grader</h3>")[1].split("</table>")[0]
    assert lines[3] == ["scenes named right", *re.findall(r"\d+ of \d+", right)]


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
