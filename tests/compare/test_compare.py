"""Comparisons on the tiny model: trained and scored once, taken up again, refused where something else is asked for."""

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atomtune.compare.compare import NothingCompared, compare
from atomtune.compare.grouped import in_one_line
from atomtune.compare.options import CompareOptions, Job, jobs_of, parse_concept, parse_seeds
from atomtune.compare.precision import shared_precision
from atomtune.compare.scoring import SCORE
from atomtune.compare.subprocess_training import Order, Trainer, train_here
from atomtune.compare.variants import parse_variants
from atomtune.errors import AtomtuneError, Interrupted, UsageError
from atomtune.evaluation.image_sets import DRIFT_PROMPTS
from atomtune.files.atoms_file import load_atoms
from atomtune.files.run_result import result_in
from atomtune.runtime.progress import Events
from atomtune.training.run_folder import RunFolder
from atomtune.training.run_lock import run_lock

from .conftest import Compared

Made = Callable[..., CompareOptions]


def refuse(order: Order, events: Events) -> None:
    raise AssertionError(f"{order.output} is trained again")


def counted(trained: list[str]) -> Trainer:
    """Trains, and notes which run."""

    def train(order: Order, events: Events) -> None:
        trained.append(order.output.name)
        train_here(order, events)

    return train


def result_of(folder: Path) -> dict[str, object]:
    record = RunFolder(folder).read_record()
    return dict(record["result"])


def test_every_variant_is_trained_and_scored_from_every_seed(compared: Compared) -> None:
    runs = compared.result.runs
    assert [(run.seed, run.variant.name) for run in runs] == [
        (0, "atoms:c1"),
        (0, "bitfit"),
        (1, "atoms:c1"),
        (1, "bitfit"),
    ]
    assert not compared.result.failures
    for run in runs:
        assert run.score.measures.n == 4
        assert run.score.measures.fidelity is not None
        assert run.trained.steps == 3
        assert run.trained.seconds > 0
        assert (run.trained.peak_bytes or 0) > 50e6
    assert len({run.trained.sha256 for run in runs}) == 4, "another seed, the same atoms"
    assert runs[0].trained.parameters == runs[2].trained.parameters != runs[1].trained.parameters
    assert runs[0].learning_rate == 1e-3


def test_what_is_reported_is_what_the_runs_hold(compared: Compared) -> None:
    for job in jobs_of(compared.options):
        info = load_atoms(result_in(job.folder))[1]
        assert (info.method, info.training["seed"]) == (job.variant.method, job.seed)
        assert not (job.folder / "checkpoint.safetensors").exists(), "there may be hundreds of runs"


def test_the_base_model_generates_once(compared: Compared) -> None:
    sets = list((compared.options.output / "castle" / "images").iterdir())
    assert len(sets) == 2 * (1 + 4), "prompts and plain ones, by the base model and by each run"
    found = sum(len(list(folder.glob("*.png"))) for folder in sets)
    assert found == (4 + len(DRIFT_PROMPTS)) * (1 + 4)
    assert len({tuple(run.score.base_images) for run in compared.result.runs}) == 1


def test_what_is_complete_is_not_done_again(compared: Compared) -> None:
    there = [path for path in compared.options.output.rglob("*") if path.is_file() and path.suffix != ".lock"]
    files = {path: path.stat().st_mtime_ns for path in there}
    again = compare(compared.options, trainer=refuse)
    assert again.runs == compared.result.runs
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_results_replace_only_what_compare_wrote(compared: Compared, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("theirs")
    with pytest.raises(UsageError, match=r"holds runs\.csv, which atomtune did not write"):
        compare(replace(compared.options, output=tmp_path), trainer=refuse)
    assert [path.name for path in tmp_path.iterdir()] == ["runs.csv"]


def test_one_process_at_a_time_compares_in_a_folder(compared: Compared, tmp_path: Path) -> None:
    with run_lock(tmp_path / "out", "compare"), pytest.raises(AtomtuneError, match="another atomtune compare"):
        compare(replace(compared.options, output=tmp_path / "out"), trainer=refuse)


def test_one_more_variant_is_one_more_run(compared: Compared) -> None:
    trained: list[str] = []
    more = replace(compared.options, variants=parse_variants(["bitfit", "loldu"]), seeds=(0,))
    result = compare(more, trainer=counted(trained))
    assert trained == ["loldu"]
    assert result.runs[0] == compared.result.runs[1]


def test_a_lost_image_is_generated_again_and_a_lost_score_computed_again(compared: Compared) -> None:
    run, job = compared.result.runs[1], jobs_of(compared.options)[1]
    run.score.images[0].path.unlink()
    (job.folder / SCORE).write_text("{broken", encoding="utf-8")
    again = compare(compared.options, trainer=refuse).runs[1]
    assert run.score.images[0].path.is_file()
    assert again.score.measures.fidelity == pytest.approx(run.score.measures.fidelity, abs=1e-3)
    assert json.loads((job.folder / SCORE).read_text(encoding="utf-8"))["measures"]["n"] == 4


def test_scores_of_other_encoders_are_computed_again(compared: Compared) -> None:
    job = jobs_of(compared.options)[2]
    told = json.loads((job.folder / SCORE).read_text(encoding="utf-8"))
    told["encoders"]["diversity"] = "another one"
    (job.folder / SCORE).write_text(json.dumps(told), encoding="utf-8")
    runs = compare(compared.options, trainer=refuse).runs
    assert len({json.dumps(run.score.encoders) for run in runs}) == 1
    assert runs[2].score.encoders["diversity"] != "another one"


def test_other_images_are_no_other_training(compared: Compared) -> None:
    fewer = replace(compared.options, scoring=replace(compared.options.scoring, per_prompt=1), seeds=(0,))
    assert [run.score.measures.n for run in compare(fewer, trainer=refuse).runs] == [2, 2]
    assert compare(compared.options, trainer=refuse).runs[0].score.measures.n == 4


def test_an_interrupted_comparison_goes_on_to_the_same_end(compared: Compared, made: Made, tmp_path: Path) -> None:
    class Stop(Events):
        stops = False

        def begin(self, what: str, total: int, done: int = 0) -> None:
            self.stops = what == "train"

        def advance(self, note: str = "") -> None:
            if self.stops:
                self.stops = False
                signal.raise_signal(signal.SIGINT)

    options = made(tmp_path, seeds=(0,))
    with pytest.raises(Interrupted):
        compare(options, trainer=train_here, events=Stop())
    first, second = jobs_of(options)
    assert (first.folder / "checkpoint.safetensors").is_file()
    assert not second.folder.exists()
    runs = compare(options, trainer=train_here).runs
    assert result_of(first.folder)["resumed_from"] == 1
    whole = compared.result.runs[:2]
    assert [run.trained.sha256 for run in runs] == [run.trained.sha256 for run in whole]
    assert [run.score.measures for run in runs] == [run.score.measures for run in whole]


def test_other_options_than_those_of_the_runs_are_named(compared: Compared) -> None:
    options = compared.options
    other = replace(options, training=replace(options.training, steps=4), rates={"bitfit": 0.5})
    with pytest.raises(UsageError) as caught:
        compare(other, trainer=refuse)
    assert caught.value.message == (
        "runs that are there were trained otherwise: steps was 3, now 4 (all 4 runs); "
        "lr was 0.001, now 0.5 (castle/seed-0/bitfit, castle/seed-1/bitfit)"
    )
    assert "--overwrite" in str(caught.value.hint)


@pytest.fixture
def copied(compared: Compared, tmp_path: Path) -> CompareOptions:
    """The runs of the first seed once more, to be spoilt."""
    shutil.copytree(compared.options.output, tmp_path / "copy")
    return replace(compared.options, output=tmp_path / "copy", seeds=(0,))


def rewrite(job: Job, **changes: Any) -> None:
    folder = RunFolder(job.folder)
    folder.write_record({**folder.read_record(), **changes})


def test_auto_is_the_precision_of_the_runs_that_are_there(copied: CompareOptions) -> None:
    first = jobs_of(copied)[0]
    rewrite(first, options=replace(first.options, precision="bf16").to_dict())
    training = replace(copied.training, precision="auto")
    with pytest.raises(UsageError, match=r"precision was fp32, now bf16 \(castle/seed-0/bitfit\)$"):
        compare(replace(copied, training=training), trainer=refuse)
    assert shared_precision("auto", "cpu", [copied.output / "elsewhere", first.folder]) == "bf16"
    assert shared_precision("fp32", "cpu", [first.folder]) == "fp32"
    assert shared_precision("auto", "cpu", []) == "fp32"


def test_other_images_than_those_of_the_runs_are_named(compared: Compared, copied: CompareOptions) -> None:
    job = jobs_of(copied)[1]
    images = [dict(image) for image in RunFolder(job.folder).read_record()["images"]]
    images[0]["digest"] = "of another image"
    rewrite(job, images=images)
    with pytest.raises(UsageError, match=r"0\.png was changed \(castle/seed-0/bitfit\)$"):
        compare(copied, trainer=refuse)
    trained: list[str] = []
    result = compare(copied, trainer=counted(trained), overwrite=True)
    assert trained == ["bitfit"], "what is as asked for stays"
    assert result.runs[1].trained.sha256 == compared.result.runs[1].trained.sha256
    assert compare(copied, trainer=refuse, overwrite=True).runs == result.runs


def test_a_run_that_fails_is_left_out_and_said(made: Made, tmp_path: Path) -> None:
    def train(order: Order, events: Events) -> None:
        if order.options.method == "bitfit":
            raise AtomtuneError("the loss is not finite")
        train_here(order, events)

    options = made(tmp_path, steps=1, seeds=(0,), variants=parse_variants(["loldu", "bitfit"]))
    result = compare(options, trainer=train)
    assert [run.variant.name for run in result.runs] == ["loldu"]
    assert [(f.variant, f.reason) for f in result.failures] == [("bitfit", "the loss is not finite")]
    alone = replace(options, variants=parse_variants(["bitfit"]))
    with pytest.raises(NothingCompared, match=r"compared: the loss is not finite \(castle, seed 0, bitfit\)$"):
        compare(alone, trainer=train)
    assert len(compare(options, trainer=train_here).runs) == 2, "it is tried again"


def test_runs_of_another_base_are_not_mixed(copied: CompareOptions) -> None:
    rewrite(jobs_of(copied)[0], base_fingerprint="another")
    with pytest.raises(AtomtuneError, match="other weights"):
        compare(copied, trainer=refuse)


def test_a_damaged_record_is_an_error_or_written_anew(copied: CompareOptions) -> None:
    record = jobs_of(copied)[1].folder / "run.json"
    record.write_text("{", encoding="utf-8")
    with pytest.raises(AtomtuneError, match="damaged"):
        compare(copied, trainer=refuse)
    trained: list[str] = []
    assert len(compare(copied, trainer=counted(trained), overwrite=True).runs) == 2
    assert trained == ["bitfit"]


def test_what_several_runs_have_in_common_is_said_once() -> None:
    found = [(f"run {number}", "the loss is not finite") for number in range(5)] + [("run 9", "killed")]
    assert in_one_line(found, 6) == "the loss is not finite (run 0, run 1, run 2 and 2 more runs); killed (run 9)"
    assert in_one_line(found[:5], 5) == "the loss is not finite (all 5 runs)"
    many = in_one_line([("a", f"{letter} was 1, now 2") for letter in "abcdefghijk"], 1)
    assert many.endswith("h was 1, now 2 (a); and 3 more")


def test_what_cannot_be_is_known_before_anything_is_trained(made: Made, tmp_path: Path) -> None:
    options = made(tmp_path)
    with pytest.raises(UsageError, match=r"full:nowhere\.\*: no layer of the model matches"):
        compare(replace(options, variants=parse_variants(["bitfit", "full:nowhere.*"])), trainer=refuse)
    lost, mute = (replace(options.subjects[0], **{name: tmp_path / "nowhere"}) for name in ("images", "prompts"))
    with pytest.raises(AtomtuneError, match="there is no folder"):
        compare(replace(options, subjects=(lost,)), trainer=refuse)
    with pytest.raises(UsageError, match="cannot read prompts"):
        compare(replace(options, subjects=(mute,)), trainer=refuse)
    with pytest.raises(AtomtuneError, match="clip"):
        compare(replace(options, encoder_paths={**options.encoder_paths, "clip": str(tmp_path)}), trainer=refuse)
    assert not options.output.exists()


def test_several_processes_are_refused(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="one run after the other"):
        compare(made(tmp_path), trainer=refuse)


def test_nothing_is_given_twice(made: Made, tmp_path: Path) -> None:
    options = made(tmp_path)
    with pytest.raises(UsageError, match="the seed 1 is given twice"):
        replace(options, seeds=(1, 1))
    with pytest.raises(UsageError, match="the concept castle is given twice"):
        replace(options, subjects=options.subjects * 2)
    with pytest.raises(UsageError, match="there is no seed"):
        replace(options, seeds=())


def test_concepts_and_seeds_as_texts() -> None:
    assert parse_seeds("0, 3,1") == (0, 3, 1)
    for text in ("", "a", "1,,2", "-1", "1.5", "9" * 30):
        with pytest.raises(UsageError, match="--seeds takes whole numbers"):
            parse_seeds(text)
    concept = parse_concept("rex=dog", "zxc")
    assert (concept.name, concept.class_noun, concept.token) == ("rex", "dog", "zxc")
    assert parse_concept("castle", "sks").class_noun == "castle"
    for text in ("../up", "", "rex="):
        with pytest.raises(UsageError):
            parse_concept(text, "sks")
