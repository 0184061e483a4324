"""A concept scored from end to end on `pocket`, its report, and images from anywhere."""

import csv
import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from atomtune.commands.evaluate import OF_FOLDER, evaluate
from atomtune.commands.options.signature import option_classes
from atomtune.core.fingerprint import fingerprint
from atomtune.evaluation import image_sets
from atomtune.evaluation.folder import prompt_of
from atomtune.evaluation.image_sets import ImageSet
from atomtune.evaluation.measure import Measures
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.models.conditioning import embed
from atomtune.pocket.world import FIRST_HELD_OUT_SEED, Style, render
from atomtune.runtime.options import options_of
from atomtune.runtime.progress import Events
from atomtune.sampling.apply import applied, merge_atoms
from atomtune.sampling.changes import read_atoms
from atomtune.training.run_lock import run_lock
from commands_here import run_here
from made import made_atoms

SCENES = ("", "in the snow", "on the beach", "in the jungle")
MEASURES = {field.name for field in fields(Measures)}
KEYS = MEASURES | {"report", "concept", "step", "base", "checkpoints", "selected"}
KEYS |= {"real_fidelity", "encoders", "preprocessing"}  # what docs/json.md promises


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A short run on pocket and its evaluation with checkpoints, by the command line."""
    folder = tmp_path_factory.mktemp("evaluated")
    style = Style(FIRST_HELD_OUT_SEED + 3)
    (folder / "concepts" / "castle").mkdir(parents=True)
    for number, scene in enumerate(SCENES):
        image = render("castle", style, scene, FIRST_HELD_OUT_SEED + number)
        image.save(folder / "concepts" / "castle" / f"{number}.png")
    (folder / "prompts.txt").write_text("a {} in the snow\na {} on the beach\n")
    score = "evaluate --concept castle --prompts prompts.txt --per-prompt 2 --steps 1 --checkpoints --device cpu"

    def run(words: str) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(image_sets, "DRIFT_PROMPTS", image_sets.DRIFT_PROMPTS[:3])
            return run_here(folder, *words.split())

    def again() -> dict[str, Any]:
        return dict(json.loads(run(f"{score} --json")))

    run("train --concept castle --model pocket --steps 4 --checkpoint-every 2 --lr 5e-3 --device cpu")
    text = run(score)
    return {"folder": folder, "text": text, "scores": again(), "evaluate": again}


def test_every_measure_is_reported(evaluated: dict[str, Any]) -> None:
    scores = evaluated["scores"]
    assert set(scores) == KEYS
    assert (scores["n"], scores["references"], scores["step"]) == (4, 4, 4)
    for name in ("fidelity", "diversity", "diversity_per_prompt", "alignment", "drift"):
        assert math.isfinite(scores[name]), name
    assert 1.0 <= scores["diversity"] <= 4.0
    assert scores["base"]["drift"] == pytest.approx(0.0, abs=1e-6)
    assert scores["drift"] > 1e-6, "the tuned model generates what the base model does, so drift says nothing"
    assert scores["dino"] is None
    assert scores["kid"] is None
    assert [entry["step"] for entry in scores["checkpoints"]] == [2, 4]
    assert scores["selected"]["step"] in (2, 4)
    stored = json.loads((evaluated["folder"] / scores["report"]).with_name("scores.json").read_text())
    assert stored.items() <= scores.items()


def test_the_terminal_says_what_the_page_says_with_the_base_model_beside_it(evaluated: dict[str, Any]) -> None:
    scores = evaluated["scores"]
    page = (evaluated["folder"] / scores["report"]).read_text(encoding="utf-8")
    table = page.split("<h2>Figures</h2>")[1].split("</table>")[0]
    on_page = [re.findall(r"<t[hd][^>]*>([^<]*)<", row) for row in table.split("<tr>")[1:]]
    header, rule, *lines = evaluated["text"].split("\n\n")[0].splitlines()
    assert re.split(r"  +", header.strip()) == on_page[0][1:] == ["with the concept", "base model", "real images"]
    assert set(rule) == {"-", " "}
    assert [re.split(r"  +", line.strip()) for line in lines] == [
        [cells[0].lower(), *filter(None, (cell.strip() for cell in cells[1:]))] for cells in on_page[1:]
    ]
    assert lines[0].split() == [
        "fidelity",
        *(f"{value:.2f}" for value in (scores["fidelity"], scores["base"]["fidelity"], scores["real_fidelity"])),
    ]
    assert f"report  {scores['report']}" in evaluated["text"]
    assert scores["selected"]["reason"] in evaluated["text"]


def test_the_table_has_a_row_for_each_image(evaluated: dict[str, Any]) -> None:
    path = evaluated["folder"] / "runs" / "castle" / "evaluation" / "images.csv"
    rows = list(csv.DictReader(path.open()))
    assert len(rows) == 2 * 4
    final = [float(row["fidelity"]) for row in rows if row["step"] == "4"]
    assert sum(final) / len(final) == pytest.approx(evaluated["scores"]["fidelity"], abs=1e-5)
    assert all((path.parent / row["file"]).is_file() for row in rows)


def test_images_are_found_by_the_precision_that_auto_is(evaluated: dict[str, Any]) -> None:
    # as they were when float32 was the default
    keys = [json.loads(path.read_text()) for path in evaluated["folder"].glob("runs/castle/evaluation/**/key.json")]
    assert {tuple(key["settings"][1:]) for key in keys} == {(None, "fp32")}


def test_nothing_is_generated_twice(evaluated: dict[str, Any]) -> None:
    """One image is lost and one is cut short: those two are generated again, as they were."""
    folder = evaluated["folder"]
    images = {path: path.stat().st_mtime_ns for path in (folder / "runs/castle/evaluation/images").rglob("*.png")}
    made = sorted(path for path in images if path.name != "scale-grid.png")
    before = [_pixels(path) for path in made[:2]]
    whole = made[1].read_bytes()
    made[0].unlink()
    made[1].write_bytes(whole[:100])
    scores = evaluated["evaluate"]()
    # kernels may round differently by batch size
    assert all((_pixels(path) - old).abs().mean() < 0.5 for path, old in zip(made[:2], before, strict=True))
    assert all(path.stat().st_mtime_ns == when for path, when in images.items() if path not in made[:2])
    assert scores["fidelity"] == pytest.approx(evaluated["scores"]["fidelity"], abs=1e-3)


def _pixels(path: Path) -> torch.Tensor:
    with Image.open(path) as opened:
        return torch.from_numpy(np.array(opened.convert("RGB"))).float()


def test_the_page_holds_everything_and_asks_for_nothing(evaluated: dict[str, Any]) -> None:
    page = (evaluated["folder"] / evaluated["scores"]["report"]).read_text()
    addresses = re.findall(r"""(?:src|href)=["']([^"']*)""", page) + re.findall(r"url\(([^)]*)", page)
    assert len(addresses) > 20
    assert all(address.startswith("data:image/webp;base64,") for address in addresses)
    assert "<script" not in page
    assert page.count("<svg") >= 7, "loss, four scores over the steps, two scatters"
    for words in ("choa castle", "Which checkpoint to keep", "best fidelity", "worst alignment", "in the snow"):
        assert words in page


def test_a_report_replaces_its_own_and_nothing_else(evaluated: dict[str, Any], cli: Callable[..., Any]) -> None:
    images = evaluated["folder"] / "concepts" / "castle"
    asked = ("evaluate", "--images", images, "--references", images, "--model", "pocket")
    Path("out").mkdir()
    Path("out/scores.json").write_text("theirs")
    answer = cli(*asked, "--output", "out")
    assert (answer.code, Path("out/scores.json").read_text()) == (2, "theirs")
    assert "did not write" in answer.err
    shutil.copytree(evaluated["folder"] / "runs" / "castle", Path("runs/castle"))
    Path("mine").mkdir()
    Path("mine/report.html").write_text("theirs")
    answer = cli("evaluate", "--concept", "castle", "--output", "mine")
    assert (answer.code, Path("mine/report.html").read_text()) == (2, "theirs")
    assert list(Path("mine").iterdir()) == [Path("mine/report.html")], "known before anything is generated"


def test_one_process_at_a_time_generates_in_a_folder(evaluated: dict[str, Any], cli: Callable[..., Any]) -> None:
    for name in ("runs", "concepts"):
        shutil.copytree(evaluated["folder"] / name / "castle", Path(name) / "castle", dirs_exist_ok=True)
    with run_lock(Path("out"), "evaluate"):
        answer = cli("evaluate", "--concept", "castle", "--output", "out", "--device", "cpu")
    assert answer.code == 1
    assert "in use by another atomtune evaluate" in answer.err


def test_what_is_passed_on_says_nothing_of_the_machine(evaluated: dict[str, Any]) -> None:
    """The report, its table and figures, made under a folder with an absolute path."""
    folder = (evaluated["folder"] / evaluated["scores"]["report"]).parent
    for file in ("report.html", "images.csv", "scores.json"):
        content = (folder / file).read_text(encoding="utf-8")
        assert str(evaluated["folder"]) not in content
        assert str(Path.home()) + "/" not in content


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_is_shown_by_a_browser(evaluated: dict[str, Any], width: int, tmp_path: Path) -> None:
    """As wide as a telephone and as a desk; its colours show that images and curves are there."""
    shot = tmp_path / "page.png"
    subprocess.run(
        [
            *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},3000", f"--screenshot={shot}"),
            (evaluated["folder"] / evaluated["scores"]["report"]).resolve().as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    with Image.open(shot) as opened:
        colors = opened.convert("RGB").getcolors(maxcolors=2**24)
    assert colors is not None
    assert len(colors) > 5000, "no images"
    assert any(color == (0x3B, 0x78, 0xE7) for _, color in colors), "no curve"


def test_an_applied_concept_is_a_merged_one_and_leaves_no_trace(tiny_model: Path, tmp_path: Path) -> None:
    atoms = read_atoms([(made_atoms(tmp_path / "atoms.safetensors", tiny_model), 0.7)])
    pipeline, merged = (load_pipeline(resolve(str(tiny_model))) for _ in range(2))
    merge_atoms(merged, atoms, Events())
    before, modules = fingerprint(pipeline.unet), [type(module) for module in pipeline.unet.modules()]
    words = embed(pipeline, ["a castle"]).for_unet(32)
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    with applied(pipeline, atoms, Events()), torch.no_grad():
        ours = pipeline.unet(latents, 10, **words).sample
    with torch.no_grad():
        theirs, plain = merged.unet(latents, 10, **words).sample, pipeline.unet(latents, 10, **words).sample
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert not torch.allclose(ours, plain, atol=1e-4)
    assert fingerprint(pipeline.unet) == before
    assert [type(module) for module in pipeline.unet.modules()] == modules


def test_images_say_their_prompt(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    text = PngInfo()
    text.add_text("parameters", "a castle,\nin the snow\nNegative prompt: rain\nSteps: 20, Seed: 1")
    Image.new("RGB", (8, 8)).save(path, pnginfo=text)
    assert prompt_of(path) == "a castle, in the snow"
    for ending, written in ((".TXT", "\ufeff a text of Windows\r\n"), (".txt", " a caption beside it\n")):
        path.with_suffix(ending).write_text(written, encoding="utf-8")
        assert prompt_of(path) == " ".join(written.removeprefix("\ufeff").split())
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    assert prompt_of(tmp_path / "b.png") is None


def test_folders_of_images(cli: Callable[..., Any], tmp_path: Path) -> None:
    style = Style(FIRST_HELD_OUT_SEED + 3)
    for name, first in (("ours", 10), ("theirs", 20)):
        (tmp_path / name).mkdir()
        for number in range(3):
            render("castle", style, "in the snow", first + number).save(tmp_path / name / f"{number}.png")
    (tmp_path / "ours" / "0.txt").write_text("a castle in the snow")
    answer = cli(
        *("evaluate", "--images", tmp_path / "ours", "--references", tmp_path / "theirs", "--model", "pocket"),
        *("--device", "cpu", "--output", "out", "--json"),
    )
    assert answer.code == 0, answer.err
    scores = json.loads(answer.out)
    assert set(scores) == MEASURES | {"real_fidelity", "encoders", "preprocessing", "images"}
    assert json.loads(Path("out/scores.json").read_text()) == scores
    assert scores["n"] == scores["references"] == 3
    assert [image["alignment"] is None for image in scores["images"]] == [False, True, True]
    assert scores["alignment"] == pytest.approx(scores["images"][0]["alignment"])
    (tmp_path / "ours" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "ours" / "notes.md").write_text("hello")
    broken = cli("evaluate", "--images", tmp_path / "ours", "--references", tmp_path / "theirs", "--model", "pocket")
    assert broken.code == 1
    assert "broken.jpg" in broken.err
    assert "notes.md" in broken.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "say what to score"),
        (("--concept", "a", "--images", "b"), "say what to score"),
        (("--images", "b"), "--images needs --references"),
        (("--images", "b", "--references", "c", "--checkpoints"), "--checkpoints does not go with --images"),
        (("--images", "b", "--per-prompt", "4", "--prompts", "c"), "--per-prompt, --prompts do not go with --images"),
        (
            ("--images", "b", "--steps", "5", "--scheduler", "ddim", "--guidance-scale", "1"),
            "--guidance-scale, --scheduler, --steps do not go with --images",
        ),
        (
            ("--images", "b", "--seed", "0", "--scale", "1", "--batch-size", "8", "--precision", "fp32"),
            "--batch-size, --precision, --scale, --seed do not go with --images",
        ),
        (("--concept", "a", "--references", "b"), "--references does not go with --concept"),
        (("--concept", "nobody"), "there is no"),
        (("--concept", "nobody", "--encoder-path", "nonsense"), "encoder"),
    ],
)
def test_wrong_wishes(arguments: tuple[str, ...], says: str, cli: Callable[..., Any]) -> None:
    answer = cli("evaluate", "--model", "pocket", *arguments)
    assert answer.code in (1, 2)
    assert says in answer.err
    assert "Traceback" not in answer.err


def test_options_out_of_a_file_are_refused_like_others(cli: Callable[..., Any]) -> None:
    Path("run.toml").write_text("per_prompt = 2\n", encoding="utf-8")
    answer = cli("evaluate", "--images", "a", "--references", "b", "--config", "run.toml")
    assert answer.code == 2
    assert "--per-prompt does not go with --images" in answer.err


def test_what_goes_with_a_folder_are_options() -> None:
    options = [option for kind in option_classes(evaluate).values() for option in options_of(kind)]
    assert {option.path[-1] for option in options} >= OF_FOLDER


def test_a_step_that_was_not_kept(cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "work" / "runs" / "castle").mkdir(parents=True)
    answer = cli("sample", "--concept", "castle", "--step", 7, "--prompt", "a <castle>")
    assert answer.code == 2
    assert "keeps no atoms of step 7" in answer.err


def test_settings_decide_the_folder(tmp_path: Path) -> None:
    one = ImageSet.under(tmp_path, {"steps": 2}, ["a"], [0, 1])
    assert ImageSet.under(tmp_path, {"steps": 2}, ["a"], [0, 1]).folder == one.folder
    assert ImageSet.under(tmp_path, {"steps": 3}, ["a"], [0]).folder != one.folder
    assert ImageSet.under(tmp_path, {"steps": 2}, ["b"], [0]).folder != one.folder
    assert [image.path.name for image in one.images] == ["000-0.png", "000-1.png"]
    assert ImageSet.under(tmp_path, {"steps": 2}, ["a"], [0, 1, 2]).folder == one.folder, "more seeds are more images"
