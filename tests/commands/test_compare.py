"""atomtune compare on the command line: what it prints and refuses. How runs are made is shown in tests/compare."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from atomtune.compare.compare import compare
from atomtune.compare.options import CompareOptions, Subject, jobs_of
from atomtune.compare.subprocess_training import train_here
from atomtune.compare.variants import parse_variants
from atomtune.data.concept import Concept
from atomtune.evaluation.options import EvaluateOptions
from atomtune.sampling.options import Settings
from atomtune.training.options import TrainOptions
from small_encoders import small_clip, small_dinov2

Cli = Callable[..., Any]


@pytest.fixture
def asked(cli: Cli, tiny_model: Path, tmp_path: Path) -> list[str]:
    """A comparison that the command line can ask for; its run is there already."""
    images = Path("concepts/rex")
    images.mkdir(parents=True)
    for i in range(4):
        Image.new("RGB", (40, 36), (50 * i, 90, 200 - 30 * i)).save(images / f"{i}.png")
    prompts = Path("prompts.txt")
    prompts.write_text("a {} in the snow\n", encoding="utf-8")
    paths = {"clip": str(small_clip(tmp_path / "clip")), "dinov2": str(small_dinov2(tmp_path / "dinov2"))}
    concept = Concept("rex", "dog")
    compare(
        CompareOptions(
            subjects=(Subject(concept, images, prompts),),
            variants=parse_variants(["bitfit"]),
            training=TrainOptions(concept=concept, images=images, model=str(tiny_model), steps=1, device="cpu"),
            scoring=EvaluateOptions(
                run=Path(), prompts=prompts, per_prompt=2, settings=Settings(steps=1), device="cpu"
            ),
            output=Path("runs/comparison"),
            rates={"bitfit": 0.01},
            encoder_paths=paths,
        ),
        trainer=train_here,
    )
    words = [
        "compare",
        "--concept",
        "rex=dog",
        "--methods",
        "bitfit",
        "--lr",
        "bitfit=0.01",
        "--model",
        str(tiny_model),
    ]
    words += ["--steps", "1", "--device", "cpu", "--prompts", "prompts.txt", "--per-prompt", "2", "--sample-steps", "1"]
    return words + [word for name, path in paths.items() for word in ("--encoder-path", f"{name}={path}")]


def test_the_table_is_printed_and_the_page_written(cli: Cli, asked: list[str]) -> None:
    answer = cli(*asked)
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[0].split()[:3] == ["variant", "runs", "rate"]
    assert [line.split()[0] for line in lines[2:5]] == ["base", "real", "bitfit"]
    assert lines[-1] == "runs/comparison/comparison.html"
    assert Path(lines[-1]).is_file()
    assert "training" not in answer.err.lower(), "the run is there"


def test_json_is_one_object(cli: Cli, asked: list[str]) -> None:
    answer = cli(*asked, "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert told["report"] == "runs/comparison/comparison.html"
    stored = json.loads(Path("runs/comparison/comparison.json").read_text(encoding="utf-8"))
    assert stored.items() <= told.items()
    (line,) = told["variants"]
    assert (line["variant"], line["learning_rate"], line["runs"]) == ("bitfit", 0.01, 1)
    assert told["settings"]["steps"] == 1


def test_options_from_a_file(cli: Cli, asked: list[str]) -> None:
    Path("compare.toml").write_text('methods = "bitfit"\nlr = ["bitfit=0.01"]\nsteps = 1\nper_prompt = 2\n', "utf-8")
    kept = [word for i, word in enumerate(asked) if not {word, asked[i - 1]} & {"--methods", "--lr", "--per-prompt"}]
    answer = cli(*kept, "--config", "compare.toml", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["runs"][0]["learning_rate"] == 0.01


def test_a_changed_option_is_named(cli: Cli, asked: list[str]) -> None:
    answer = cli(*asked, "--steps", 2)
    assert answer.code == 2
    assert answer.out == ""
    *before, error, hint = answer.err.splitlines()
    assert re.fullmatch(r"Error: runs that .* otherwise: steps was 1, now 2 \(rex/seed-0/bitfit\)", error)
    assert "--overwrite" in hint
    assert not any("Error" in line for line in before)


def test_several_concepts_keep_their_order(cli: Cli, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[CompareOptions] = []

    def stop(options: CompareOptions, **_: Any) -> None:
        seen.append(options)
        raise KeyboardInterrupt

    monkeypatch.setattr("atomtune.compare.compare.compare", stop)
    words = ["--concept", "rex=dog", "--concepts", "castle, mia=cat", "--seeds", "0,2", "--model", tiny_model]
    assert cli("compare", *words, "--methods", "atoms,lora:attention", "--lr", "lora=1e-4").code == 130
    (options,) = seen
    assert [(one.concept.name, one.concept.class_noun) for one in options.subjects] == [
        ("rex", "dog"),
        ("castle", "castle"),
        ("mia", "cat"),
    ]
    assert options.subjects[1].images == Path("concepts/castle")
    assert options.subjects[1].prompts.name == "dreambooth_objects.txt"
    jobs = jobs_of(options)
    assert len(jobs) == 2 * 3 * 2
    assert [job.seed for job in jobs] == [0] * 6 + [2] * 6, "a first seed is whole before the next begins"
    assert [job.options.lr for job in jobs[:2]] == [1e-3, 1e-4]
    assert len({job.folder for job in jobs}) == len(jobs)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say what to compare on"),
        (["--concepts", " , "], "say what to compare on"),
        (["--concept", "../up"], "cannot be the name of a concept"),
        (["--concept", "castle", "--concepts", "castle"], "the concept castle is given twice"),
        (["--concept", "castle", "--methods", "lore"], "there is no method 'lore'"),
        (["--concept", "castle", "--methods", "lora,lora"], "lora given twice"),
        (["--concept", "castle", "--methods", ""], "nothing to compare"),
        (["--concept", "castle", "--lr", "full=1"], "full is not compared"),
        (["--concept", "castle", "--seeds", "one"], "--seeds takes whole numbers"),
        (["--concept", "castle", "--seeds", "1,1"], "the seed 1 is given twice"),
        (["--concept", "castle", "--steps", "0"], "--steps"),
        (["--concept", "castle", "--prompts", "nowhere.txt"], "cannot read prompts from nowhere.txt"),
        (["--concept", "castle", "--encoder-path", "clip=nowhere"], "there is no folder"),
        (["--concept", "castle", "--prompt", "a photo"], "does not name the concept"),
        (["--concept", "castle"], "there is no folder concepts/castle"),
    ],
)
def test_bad_wishes_are_an_error_and_a_hint(cli: Cli, tiny_model: Path, arguments: list[str], said: str) -> None:
    answer = cli("compare", "--model", tiny_model, *arguments)
    assert answer.code in (1, 2)
    assert answer.out == ""
    error, hint = [line for line in answer.err.splitlines() if line.startswith(("Error: ", "Hint: "))]
    assert said in error
    assert hint.startswith("Hint: ")
    assert not Path("runs").exists()
