"""The verbs on a random pipeline: what they write and print. Others rely on the keys of `--json`."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import atomtune
from atomtune.errors import UsageError
from atomtune.models.base_model import resolve
from atomtune.runtime.progress import Events
from atomtune.training.measure import measured_step
from made import made_atoms

Cli = Callable[..., Any]
SMALL = ["--preset", "c1", "--steps", "2", "--batch-size", "2"]


@pytest.fixture
def castle(cli: Cli) -> Path:
    """Five images in concepts/castle of the working folder."""
    folder = Path("concepts/castle")
    folder.mkdir(parents=True)
    for number in range(5):
        Image.new("RGB", (40, 36), (50 * number, 90, 200 - 30 * number)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def trained(cli: Cli, castle: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The atoms file of a run of two steps, with the base model in the environment."""
    monkeypatch.setenv("ATOMTUNE_MODEL", str(tiny_model))
    answer = cli("train", "--concept", "castle", *SMALL)
    assert answer.code == 0, answer.err
    return Path("runs/castle/castle.safetensors")


def parsed(answer: Any) -> dict[str, Any]:
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_decompose_makes_once_and_finds_after_that(cli: Cli, tiny_model: Path) -> None:
    first = parsed(cli("decompose", "--model", tiny_model, "--json"))
    assert set(first) == {
        "layers",
        "rows",
        "relative_error",
        "sparsity",
        "seconds",
        "path",
        "bytes",
        "found",
        "base",
        "base_fingerprint",
        "preset",
        "spec",
        "groups",
    }
    assert first["found"] is False
    assert first["preset"] == "c2"
    assert Path(first["path"]).stat().st_size == first["bytes"]
    assert sum(group["rows"] for group in first["groups"]) == first["rows"]
    second = cli("decompose", "--model", tiny_model)
    assert "Found in the cache" in second.err
    assert str(first["path"]) in second.out
    assert second.out.splitlines()[0].split()[:3] == ["group", "layers", "rows"]
    again = parsed(cli("decompose", "--model", tiny_model, "--json", "--overwrite"))
    assert again["found"] is False
    assert again["relative_error"] == first["relative_error"]


def test_decompose_takes_a_device(cli: Cli, tiny_model: Path) -> None:
    assert parsed(cli("decompose", "--model", tiny_model, "--device", "cpu", "--json"))["found"] is False
    answer = cli("decompose", "--model", tiny_model, "--device", "abacus")
    assert (answer.code, answer.err.splitlines()[0]) == (1, "Error: there is no device 'abacus'")


def test_decompose_tells_specs_apart(cli: Cli, tiny_model: Path) -> None:
    specs = [(), ("--preset", "c1"), ("--atoms", "5"), ("--tile", "4")]
    specs += [("--tile-atoms", "same", "--sparsity", "0.2"), ("--preset", "conv")]
    answers = [parsed(cli("decompose", "--model", tiny_model, "--json", *spec)) for spec in specs]
    assert len({answer["path"] for answer in answers}) == len(specs)
    assert [answer["preset"] for answer in answers] == ["c2", "c1", "custom", "custom", "custom", "conv"]


def test_train_writes_the_run_and_says_so(cli: Cli, castle: Path, tiny_model: Path) -> None:
    result = parsed(cli("train", "--concept", "castle", "--model", tiny_model, "--json", *SMALL))
    assert set(result) >= {"trainable_parameters", "steps", "seconds", "final_loss", "atoms_file", "atoms_bytes"}
    assert result["steps"] == 2
    assert result["atoms_file"] == "runs/castle/castle.safetensors"
    assert Path(result["atoms_file"]).stat().st_size == result["atoms_bytes"]
    assert {path.name for path in Path("runs/castle").iterdir()} >= {"run.json", "log.jsonl", "loss.svg"}


def test_train_talks_on_stderr_and_suggests_the_next_command(cli: Cli, castle: Path, tiny_model: Path) -> None:
    answer = cli("train", "--concept", "castle", "--class-noun", "dog", "--token", "sks", "--model", tiny_model, *SMALL)
    assert answer.code == 0
    assert answer.out.splitlines()[0].split() == ["atoms", "file", "runs/castle/castle.safetensors"]
    lines = answer.err.splitlines()
    record = json.loads(Path("runs/castle/run.json").read_text())
    parameters = f"{record['result']['trainable_parameters']:,} parameters"
    said = f'Teaching <castle> as "sks dog" on {tiny_model}: 5 images, 2 steps, {parameters}, about '
    assert lines[0].startswith(said), lines
    assert not any("review" in line for line in lines)
    assert "Training 2/2 steps  loss" in answer.err
    assert lines[-1] == 'Next: atomtune sample --concept castle --prompt "a <castle> in the snow"'
    again = cli(
        "train", "--concept", "castle", "--resume", "--steps", "3", "--sample-every", "1", "--sample-steps", "1"
    )
    lines = again.err.splitlines()
    assert lines[0].startswith('Teaching <castle> as "sks dog"')
    assert "5 images, 3 steps" in lines[0]
    assert lines[1] == "Previews every 1 step: runs/castle/previews.png"
    assert lines[2] == "Going on with the run in runs/castle after step 2"
    assert Path("runs/castle/previews.png").is_file()
    finished = cli("train", "--concept", "castle", "--resume")
    assert "Teaching" not in finished.err


def test_what_train_says_first_counts_one_image_and_one_step_as_one(cli: Cli, castle: Path, tiny_model: Path) -> None:
    for path in sorted(castle.iterdir())[1:]:
        path.unlink()
    out = Path("a folder")
    words = ["--concept", "castle", "--model", tiny_model, "--steps", "1", "--output", out, "--images", castle]
    answer = cli("train", *words, "--method", "textual-inversion")
    assert ": 1 image, 1 step, 16 parameters, about " in answer.err.splitlines()[0]
    next_command = shlex.split(answer.err.splitlines()[-1].removeprefix("Next: "))
    assert next_command[:4] == ["atomtune", "sample", "--atoms", "a folder/castle.safetensors"]
    assert cli(*next_command[1:], "--model", tiny_model, "--steps", "1").code == 0


TWICE = """
import sys
from atomtune.commands.app import main
words = sys.argv[1:]
code = main(words)
print("-- again", file=sys.stderr, flush=True)
raise SystemExit(code or main([*words, "--overwrite", "-q", "--json"]))
"""


def test_the_libraries_add_no_noise(cli: Cli, castle: Path, tiny_model: Path) -> None:
    # a process of its own: the libraries read their settings when they are imported
    command = [sys.executable, "-c", TWICE, "train", "--concept", "castle", "--model", tiny_model, *SMALL]
    environment = {**os.environ, "PYTHONPATH": str(Path(atomtune.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    told, silent = done.stderr.split("-- again\n")
    ours = ("Reading ", "Loading ", "Encoding ", "Decomposing ", "Training ", "Next: ", "Teaching ")
    assert all(line.startswith(ours) for line in told.splitlines()), told
    assert "Training 2/2 steps" in told
    assert silent == ""
    assert json.loads(done.stdout[done.stdout.index("{") :])["steps"] == 2


def test_train_does_not_overwrite_unasked(cli: Cli, trained: Path) -> None:
    before = trained.read_bytes()
    answer = cli("train", "--concept", "castle", *SMALL)
    assert answer.code == 2
    assert "--overwrite" in answer.err
    assert trained.read_bytes() == before


def test_train_resumes_without_repeating_options(cli: Cli, trained: Path) -> None:
    result = parsed(cli("train", "--concept", "castle", "--resume", "--steps", "4", "--json"))
    assert (result["resumed_from"], result["steps"]) == (2, 4)
    differing = cli("train", "--concept", "castle", "--resume", "--lr", "0.5", "--preset", "c2")
    assert differing.code == 2
    assert "lr was 0.001, now 0.5" in differing.err
    assert "spec was" in differing.err


def test_train_reads_a_config(cli: Cli, castle: Path, tiny_model: Path) -> None:
    Path("run.toml").write_text(f'model = "{tiny_model}"\nsteps = 1\npreset = "c1"\n', encoding="utf-8")
    result = parsed(cli("train", "--concept", "castle", "--config", "run.toml", "--json", "--batch-size", "1"))
    assert result["steps"] == 1


@pytest.mark.parametrize(("preset", "count"), [("c1", 49_292), ("c2", 749_522), ("c3", 2_393_600)])
def test_dry_run_counts_the_papers_presets_without_weights(cli: Cli, preset: str, count: int) -> None:
    plan = parsed(cli("train", "--concept", "castle", "--preset", preset, "--dry-run", "--json"))
    assert plan["trainable_parameters"] == plan["parameters"] == count
    assert (plan["conv"], plan["conv_1x1"], plan["linear"]) == (50, 46 if preset == "c3" else 0, 182)
    assert sum(group["parameters"] for group in plan["groups"]) == count
    assert plan["base"] == "CompVis/stable-diffusion-v1-4"
    assert 2 * count < plan["file_bytes"] < 2.4 * count + 40_000 < plan["run_bytes"]
    assert (plan["step_seconds"], plan["seconds"], plan["seconds_from"]) == (None, None, None)
    assert 859_520_964 * 4 < plan["memory_bytes"] < 4e9
    assert plan["memory_from"] == "weights"
    assert not Path("runs").exists()


def test_dry_run_shows_a_table_by_group_and_what_it_knows_of_the_rest(cli: Cli) -> None:
    *lines, _, file, time, memory = cli("train", "--concept", "castle", "--dry-run").out.splitlines()
    assert file.startswith("file    about 1.5 MB; the folder of the run takes up to")
    assert time == "time    not known: --measure loads the model and takes a few steps"
    assert memory.startswith("memory  more than 3.4 GB, for weights")
    assert lines[0] == "c2 on CompVis/stable-diffusion-v1-4 would train 749,522 parameters"
    assert lines[2].split() == ["group", "layers", "conv", "conv", "1x1", "linear", "rows", "parameters"]
    assert lines[-1].split()[:2] == ["total", "232"]
    assert any(line.startswith("mid_block") for line in lines)


def test_a_dry_run_measures_steps_where_it_is_asked_to(cli: Cli, tiny_model: Path) -> None:
    asked = ("train", "--concept", "castle", "--model", tiny_model, "--steps", "200", "--dry-run", "--preserve", "1")
    least = parsed(cli(*asked, "--json"))
    measured = parsed(cli(*asked, "--measure", "--json"))  # without any images
    assert measured["seconds"] == 200 * measured["step_seconds"] > 0
    assert (measured["seconds_from"], measured["memory_from"]) == ("steps", "steps")
    assert measured["memory_bytes"] > least["memory_bytes"]
    assert {name for name in measured if measured[name] != least[name]} == {
        *("step_seconds", "seconds", "seconds_from", "memory_bytes", "memory_from"),
    }
    assert not any(Path().iterdir())
    answer = cli(*asked, "--measure", "--prior-preservation")
    assert "for 200 steps, an estimate by steps just taken (" in answer.out
    refused = cli("train", "--concept", "castle", "--model", tiny_model, "--measure")
    assert (refused.code, refused.err.splitlines()[0]) == (2, "Error: --measure goes with --dry-run")


def test_a_dry_run_takes_no_steps_of_other_models_than_pocket_unasked(
    cli: Cli, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atomtune.training.measure.measured_step", lambda *_: (0.25, 10**9))
    answer = cli("train", "--concept", "castle", "--model", "pocket", "--steps", "400", "--dry-run")
    assert "about 1 min 40 s for 400 steps, an estimate by steps just taken (0.25 s each)" in answer.out
    assert "memory  about 1.0 GB, the most that was held in these steps" in answer.out
    assert parsed(cli("train", "--concept", "castle", "--model", tiny_model, "--dry-run", "--json"))["seconds"] is None


def test_a_dry_run_knows_what_a_run_like_it_took(cli: Cli, trained: Path) -> None:
    took = json.loads((trained.parent / "run.json").read_text())["result"]["seconds"]
    asked = ("train", "--concept", "rex", *SMALL, "--steps", "7", "--dry-run")
    known = parsed(cli(*asked, "--json"))
    assert known["seconds"] == pytest.approx(took / 2 * 7)
    assert known["seconds_from"] == "run"
    assert "as a run like it took here" in cli(*asked).out
    assert parsed(cli(*asked, "--batch-size", "1", "--json"))["seconds"] is None


def test_steps_with_and_without_preservation_count_as_often_as_there_are(
    options: Callable[..., Any], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atomtune.training.measure._seconds_of_steps", lambda *_: [3.0, 1.0, 5.0, 1.0])
    every_fourth = options(preserve=1.0, preserve_every=4)
    assert measured_step(every_fourth, resolve(str(tiny_model)), Events())[0] == pytest.approx(4 / 4 + 1 * 3 / 4)
    assert measured_step(options(), resolve(str(tiny_model)), Events())[0] == pytest.approx(10 / 4)


def test_a_missing_concept_folder_is_named(cli: Cli, tiny_model: Path) -> None:
    answer = cli("train", "--concept", "castle", "--model", tiny_model)
    assert answer.code == 1
    assert "concepts/castle" in answer.err


def test_a_model_that_is_not_there_is_explained(cli: Cli, castle: Path) -> None:
    answer = cli("train", "--concept", "castle", "--model", "nobody/nothing")
    assert answer.code == 1
    assert len(answer.err.splitlines()[-2:]) == 2
    assert "nobody/nothing" in answer.err
    assert "--model pocket" in answer.err


def test_sample_draws_and_prints_paths(cli: Cli, trained: Path) -> None:
    draw = ["sample", "--concept", "castle", "--prompt", "a <castle> in the snow", "--steps", "2", "--per-prompt", "2"]
    answer = cli(*draw, "--seed", "7", "--base", "--grid")
    assert answer.code == 0, answer.err
    paths = [Path(line) for line in answer.out.splitlines()]
    assert len(paths) == 5
    assert all(path.parent == Path("runs/castle/samples") and path.is_file() for path in paths)


def test_sample_answers_in_json(cli: Cli, trained: Path) -> None:
    Path("prompts.txt").write_text("a {} on the beach\n\n# a comment\na red {}\n", encoding="utf-8")
    arguments = [
        "--atoms",
        f"{trained}:0.5",
        "--prompts",
        "prompts.txt",
        "--steps",
        "2",
        "--output",
        "out",
        "--seed",
        3,
    ]
    result = parsed(cli("sample", *arguments, "--json", "--per-prompt", "2", "--size", "48x32", "--scheduler", "euler"))
    assert set(result) == {"images", "seed", "grid", "output"}
    assert result["seed"] == 3
    assert result["grid"] is None
    assert [(item["prompt"], item["seed"], item["base"]) for item in result["images"]] == [
        ("a choa castle on the beach", 3, False),
        ("a choa castle on the beach", 4, False),
        ("a red choa castle", 3, False),
        ("a red choa castle", 4, False),
    ]
    for item in result["images"]:
        with Image.open(item["path"]) as image:
            assert image.size == (48, 32)


def test_sample_without_atoms_draws_the_base_model(cli: Cli, tiny_model: Path) -> None:
    result = parsed(cli("sample", "--model", tiny_model, "--prompt", "a castle", "--steps", "2", "--json"))
    assert result["output"] == "runs/samples"


@pytest.mark.parametrize("words", [("sample", "--prompt", "a <castel>"), ("merge", "--output", "out"), ("export",)])
def test_a_concept_without_a_run_is_named_with_those_that_are_there(
    cli: Cli, tiny_model: Path, words: tuple[str, ...]
) -> None:
    answer = cli(*words, "--concept", "castel")
    assert answer.code == 1
    assert (
        answer.err == "Error: there is no concept castel in runs/\nHint: atomtune train --concept castel teaches it\n"
    )
    assert "Hint: atomtune train --concept 'my castle' teaches it\n" in cli(*words, "--concept", "my castle").err
    made_atoms(Path("runs/castle/atoms.safetensors"), tiny_model)
    assert "Hint: learned: castle\n" in cli(*words, "--concept", "castel").err


def test_scale_multiplies_every_scale(cli: Cli, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def draw(options: Any, *_rest: Any) -> Any:
        seen.append([scale for _, scale in options.atoms])
        raise UsageError("enough")

    monkeypatch.setattr("atomtune.sampling.sample.sample", draw)
    cli("sample", "--concept", "castle", "--atoms", f"{trained}:0.5", "--scale", "2", "--prompt", "x")
    assert seen == [[2.0, 1.0]]


def test_inspect_describes_atoms_and_decompositions(cli: Cli, trained: Path, tiny_model: Path) -> None:
    atoms = parsed(cli("inspect", trained, "--json"))
    assert atoms["kind"] == "atoms"
    assert (atoms["preset"], atoms["base"], atoms["trigger"]) == ("c1", tiny_model.name, "choa castle")
    assert atoms["parameters"] > 0
    path = parsed(cli("decompose", "--preset", "c1", "--json"))["path"]
    decomposition = parsed(cli("inspect", path, "--json"))
    assert (decomposition["kind"], decomposition["preset"]) == ("decomposition", "c1")
    assert decomposition["base"] == str(tiny_model)
    shown = cli("inspect", trained)
    assert "choa castle" in shown.out
    assert shown.err == ""


@pytest.mark.parametrize("harm", ["truncate", "alter", "foreign"])
def test_inspect_refuses_a_harmed_file(cli: Cli, trained: Path, harm: str) -> None:
    content = trained.read_bytes()
    changed = {"truncate": content[:-10], "alter": content[:-1] + bytes([content[-1] ^ 1]), "foreign": b"x" * 100}
    trained.write_bytes(changed[harm])
    answer = cli("inspect", trained)
    assert answer.code == 1
    assert answer.out == ""
    error, hint = answer.err.splitlines()
    assert error.startswith(f"Error: {trained}")
    assert hint.startswith("Hint: ")


def test_each_method_has_its_own_learning_rate(cli: Cli, castle: Path, tiny_model: Path) -> None:
    for method, rate in (("atoms", 1e-3), ("full", 5e-6), ("loldu", 5e-4)):
        run = ("train", "--concept", "castle", "--model", tiny_model, "--steps", "1", "--method", method, "--overwrite")
        assert cli(*run).code == 0
        assert json.loads(Path("runs/castle/run.json").read_text())["options"]["optimizer"]["lr"] == rate


@pytest.mark.parametrize(
    ("given", "foreign"),
    [
        (("--method", "lora", "--preset", "c3"), "--preset is not an option of the method lora"),
        (("--method", "full", "--rank", "4"), "--rank is not an option of the method full, which has layers"),
        (("--block-size", "4"), "--block-size is not an option of the method atoms"),
    ],
)
def test_options_of_another_method_are_refused(
    cli: Cli, castle: Path, tiny_model: Path, given: tuple[str, ...], foreign: str
) -> None:
    answer = cli("train", "--concept", "castle", "--model", tiny_model, *given)
    assert answer.code == 2
    assert foreign in answer.err
    assert not Path("runs").exists()


def test_a_dry_run_counts_for_every_method(cli: Cli, castle: Path, tiny_model: Path) -> None:
    from atomtune.methods import METHODS

    for method in METHODS:
        plan = parsed(
            cli("train", "--concept", "castle", "--model", tiny_model, "--method", method, "--dry-run", "--json")
        )
        assert plan["method"] == method
        assert plan["trainable_parameters"] == plan["parameters"] > 0
        assert sum(group["parameters"] for group in plan["groups"]) == plan["parameters"]
