"""The benchmark of the paper's table: its facts, its estimate, its choice of learning rates, and a short table."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from atomtune.compare.compare import Comparison, Failure, NothingCompared
from atomtune.compare.options import CompareOptions, jobs_of
from atomtune.compare.subprocess_training import Order, train_here
from atomtune.compare.variants import parse_variants, rate_of
from atomtune.errors import AtomtuneError, UsageError
from atomtune.runtime.progress import Events
from benchmarks import table2
from benchmarks.table2_customconcept import custom_concepts
from benchmarks.table2_rates import FIRST, Try, as_markdown, best, rate, read_rates, sweep, write_rates
from benchmarks.table2_subjects import LIVE, OBJECTS, POCKET_SWEEP, POCKET_THINGS, drawn, photographed
from made_runs import made_run

SHORT = "--concepts 1 --seeds 1 --steps 2 --batch-size 1 --per-prompt 1 --sample-steps 1 --device cpu --methods bitfit"


def test_the_benchmark_has_thirty_subjects(tmp_path: Path) -> None:
    assert (len(OBJECTS), len(LIVE)) == (21, 9)
    for name in (*OBJECTS, *LIVE):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "00.jpg")
    taught = photographed(tmp_path)
    assert len(taught) == len({one.concept.name for one in taught}) == 30
    by_name = {one.concept.name: one for one in taught}
    assert by_name["dog6"].prompts.name == "dreambooth_live_subjects.txt"
    assert by_name["rc_car"].prompts.name == "dreambooth_objects.txt"
    assert by_name["rc_car"].concept.class_noun == "toy"
    assert by_name["cat2"].images == tmp_path / "cat2"


def test_photos_that_are_missing_are_named(tmp_path: Path) -> None:
    for name in ("dog", "vase"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "dog" / "00.jpg")
    with pytest.raises(AtomtuneError, match="29 of 30 subjects have no photos in ") as caught:
        photographed(tmp_path)
    named = caught.value.message.split(": ")[1].split(", ")
    assert len(named) == 29
    assert "vase" in named
    assert "dog" not in named
    assert [one.concept.name for one in photographed(tmp_path, ["dog"])] == ["dog"]
    with pytest.raises(UsageError, match="no subject 'unicorn'"):
        photographed(tmp_path, ["unicorn"])


def test_rates_are_not_chosen_on_the_things_of_the_table(tmp_path: Path) -> None:
    assert not set(POCKET_THINGS) & set(POCKET_SWEEP)
    assert [one.concept.name for one in drawn(tmp_path, 6)] == list(POCKET_THINGS)
    assert not {one.concept.name for one in drawn(tmp_path, 8)} & set(POCKET_SWEEP)
    assert len(list((tmp_path / "concepts" / "castle").glob("*.png"))) == 5
    for count in (0, 99):
        with pytest.raises(UsageError, match="--concepts must be from 1"):
            drawn(tmp_path, count)


def test_rates_lie_around_the_methods_own() -> None:
    lora, full = parse_variants(["lora", "full"])
    assert [rate(lora, place) for place in (-2, -1, 0, 1, 2, 3)] == [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2]
    assert [rate(full, place) for place in (-1, 0, 1)] == [1.5e-6, 5e-6, 1.5e-5]


@pytest.fixture
def options(tmp_path: Path) -> CompareOptions:
    given = table2._parser().parse_args(
        ["--pocket", "--work", str(tmp_path), "--sweep", "--methods", "lora,full,loldu"]
    )
    return table2.options_of(given)


def test_a_sweep_follows_the_best_rate_within_its_budget(options: CompareOptions) -> None:
    """The best of full lies three places up, of lora where it begins, of loldu further down than the budget goes."""
    bests = {"lora": 1e-3, "full": 1.5e-4, "loldu": 5e-9}
    asked: list[tuple[str, str]] = []

    def compare(wanted: CompareOptions) -> Comparison:
        assert wanted.image_folder == options.output, "the base model's images are drawn once"
        runs = []
        for variant in wanted.variants:
            lr = rate_of(variant, wanted.rates)
            asked.append((variant.name, wanted.output.name))
            near = min(lr / bests[variant.name], bests[variant.name] / lr)
            runs += [made_run(name, 0, variant, 0.5, lr, worth=near) for name in POCKET_SWEEP]
        return Comparison(wanted, "pocket", "base", runs, [])

    tried = sweep(options, 5, compare)
    assert {name: best(found).lr for name, found in tried.items()} == {"lora": 1e-3, "full": 1.5e-4, "loldu": 1.5e-5}
    assert [one.place for one in tried["lora"]] == list(FIRST)
    assert [one.place for one in tried["full"]] == [*FIRST, 2, 3]
    assert [one.place for one in tried["loldu"]] == [*FIRST, -2, -3]
    assert len(asked) == len(set(asked)) == 3 + 5 + 5
    assert tried["lora"][0].figures["fidelity"] == 0.5


def test_a_rate_at_which_runs_fail_is_worth_nothing(options: CompareOptions) -> None:
    def compare(wanted: CompareOptions) -> Comparison:
        failure = Failure("boat", 0, "lora", "the loss is not finite")
        if any(rate_of(variant, wanted.rates) > variant.learning_rate for variant in wanted.variants):
            raise NothingCompared([failure])
        runs = [made_run("clock", 0, variant, 0.5) for variant in wanted.variants]
        return Comparison(wanted, "pocket", "base", runs, [failure])

    tried = sweep(options, 3, compare)["lora"]
    assert [(one.place, one.worth) for one in tried] == [(-1, 0.25), (0, 0.25), (1, 0.0)], "half of the runs count"
    assert tried[0].figures == {}
    assert best(tried).place == 0, "of equals, the nearest to the method's own"


def test_rates_are_written_and_read(options: CompareOptions, tmp_path: Path) -> None:
    tried = {"lora": [Try(-1, 3e-4, 0.2, {}), Try(0, 1e-3, 0.6, {"fidelity": 0.5}), Try(1, 3e-3, 0.1, {})]}
    tried["full"] = [Try(-1, 1.5e-6, 0.2, {}), Try(0, 5e-6, 0.3, {}), Try(1, 1.5e-5, 0.4, {})]
    path = tmp_path / "rates.json"
    assert write_rates(path, options, 3, tried) == read_rates(path) == {"lora": 1e-3, "full": 1.5e-5}
    told = json.loads(path.read_text(encoding="utf-8"))
    assert told["at_an_end"] == ["full"]
    assert [one["lr"] for one in told["tried"]["lora"]] == [3e-4, 1e-3, 3e-3]
    assert "| lora | 0.0003: 0.200, **0.001: 0.600**, 0.003: 0.100 |" in as_markdown(tried)
    more = {"oft": [Try(0, 1e-3, 0.5, {}), Try(1, 3e-3, 0.4, {}), Try(-1, 3e-4, 0.1, {})], "full": tried["full"][:2]}
    assert write_rates(path, options, 3, more) == {"lora": 1e-3, "full": 5e-6, "oft": 1e-3}, "others are kept"
    added = json.loads(path.read_text(encoding="utf-8"))
    assert added["tried"]["lora"] == told["tried"]["lora"]
    assert len(added["tried"]["full"]) == 2
    assert added["at_an_end"] == ["full"]
    before = path.read_bytes()
    with pytest.raises(UsageError, match="a sweep with other settings"):
        write_rates(path, options, 4, more)
    assert path.read_bytes() == before
    assert write_rates(path, options, 4, more, overwrite=True) == {"full": 5e-6, "oft": 1e-3}
    write_rates(path, options, 3, tried, overwrite=True)
    given = ["--pocket", "--work", str(tmp_path), "--methods", "lora,full,oft", "--lr", "full=1"]
    rates = table2.options_of(table2._parser().parse_args(given)).rates
    assert rates == {"lora": 1e-3, "full": 1.0}
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot read learning rates"):
        read_rates(path)
    with pytest.raises(UsageError, match="cannot read learning rates"):
        write_rates(path, options, 3, tried)


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The command line in this process, training in it too."""

    def call(*more: str, trainer: Callable[[Order, Events], None] = train_here) -> tuple[int, str, str]:
        code = table2.main(["--pocket", "--work", str(tmp_path / "work"), *SHORT.split(), *more], trainer)
        return code, *capsys.readouterr()

    return call


def test_a_table_on_pocket(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, out, err = run("--estimate")
    assert (code, out) == (0, "")
    assert "| bitfit | " in err
    assert "1 run, 0 of them done." in err
    assert "In all about " in err
    assert not (tmp_path / "work" / "table").exists()
    assert not list((tmp_path / "work").glob("timing-*"))
    code, out, _ = run()
    assert code == 2, "nobody is there to be asked"
    code, out, err = run("--yes")
    assert code == 0, err
    assert "timing bitfit" not in err.lower()
    lines = out.splitlines()
    assert lines[0].startswith("| variant | runs | rate | fidelity | diversity | alignment | drift | scenes right |")
    assert lines[4].startswith("| bitfit | 1 | 0.001 | ")
    assert (tmp_path / "work" / "table" / "comparison.html").is_file()

    def refuse(order: Order, events: Events) -> None:
        raise AssertionError

    code, again, err = run(trainer=refuse)
    assert (code, again) == (0, out)
    assert "1 run, 1 of them done." in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--pocket --tries 2", "--tries must be at least 3"),
        ("--photos nowhere --sweep", "--sweep goes with --pocket"),
        ("--pocket --sweep --lr lora=1e-3", "--sweep chooses the rates itself"),
        ("--pocket --sweep --rates rates.json", "--sweep chooses the rates itself"),
        ("--pocket --sweep --seeds 2", "--sweep chooses the rates itself"),
        ("--photos nowhere", "30 of 30 subjects have no photos in nowhere"),
        ("--pocket --methods lore", "there is no method 'lore'"),
        ("--pocket --concepts 0", "--concepts must be from 1"),
        ("--pocket --rates nowhere.json", "cannot read learning rates"),
        ("--pocket --protocol paper --sweep", "--protocol paper has one rate for all"),
        ("--pocket --protocol paper --lr lora=1e-2", "--protocol paper has one rate for all"),
        ("--pocket --also-preserve -1", "preserve must be a number of at least 0"),
        ("--pocket --methods lora,lora:preserve=1 --also-preserve 1", "adds the variants with preservation itself"),
        ("--customconcept nowhere", "cannot read nowhere/dataset.json"),
    ],
)
def test_wrong_wishes(words: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert table2.main(["--work", str(tmp_path), *words.split()]) in (1, 2)
    assert said in capsys.readouterr().err


def test_the_photos_protocol_is_the_papers(tmp_path: Path) -> None:
    (tmp_path / "dog").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "dog" / "00.jpg")
    words = ["--photos", str(tmp_path), "--subjects", "dog", "--work", str(tmp_path / "work")]
    options = table2.options_of(table2._parser().parse_args(words))
    assert (options.training.steps, options.training.batch_size, options.seeds) == (1000, 1, (0,))
    assert options.training.lr_scheduler == "constant"
    assert options.training.model == "CompVis/stable-diffusion-v1-4"
    assert options.scoring.per_prompt == 4
    assert len(options.variants) == len(parse_variants(["all"]))
    assert replace(options, rates={}) == options, "the methods' own rates"


def asked(*words: str) -> CompareOptions:
    return table2.options_of(table2._parser().parse_args(words))


def test_the_papers_protocol_has_one_rate_for_all_beside_the_tuned_one(tmp_path: Path) -> None:
    (tmp_path / "rates.json").write_text(json.dumps({"rates": {"lora": 1e-2, "full": 5e-4}}), encoding="utf-8")
    common = ("--pocket", "--work", str(tmp_path), "--methods", "paper,lora,textual-inversion")
    paper, tuned = asked(*common, "--protocol", "paper"), asked(*common)
    assert set(paper.rates) == {variant.name for variant in paper.variants}
    assert {name for name, lr in paper.rates.items() if lr != 1e-3} == {"full"}
    assert paper.rates["full"] == 5e-6
    assert tuned.rates == {"lora": 1e-2, "full": 5e-4}
    assert (paper.training.steps, paper.training.batch_size, paper.training.lr_scheduler) == (1000, 1, "constant")
    assert (tuned.training.steps, tuned.training.batch_size, tuned.training.lr_scheduler) == (200, 4, "cosine")
    assert paper.output != tuned.output
    assert paper.image_folder == tuned.image_folder, "the base model's images are drawn once"


def test_every_variant_once_more_with_preservation(tmp_path: Path) -> None:
    (tmp_path / "rates.json").write_text(json.dumps({"rates": {"lora": 1e-2}}), encoding="utf-8")
    options = asked(
        *("--pocket", "--work", str(tmp_path), "--methods", "lora,textual-inversion", "--also-preserve", "0.5"),
        *("--concepts", "1", "--seeds", "1"),
    )
    names = ["lora", "lora:preserve=0.5", "textual-inversion"]
    assert [variant.name for variant in options.variants] == names
    assert options.rates == {"lora": 1e-2, "lora:preserve=0.5": 1e-2}
    assert [job.options.preserve for job in jobs_of(options)] == [0.0, 0.5, 0.0]


@pytest.fixture
def customconcept(tmp_path: Path) -> Path:
    """A folder as CustomConcept101's, of three concepts."""
    entries = []
    for name, noun in (("scene_castle", "castle"), ("scene_canal", "canal"), ("pet_dog1", "dog")):
        photos = tmp_path / "benchmark_dataset" / name
        photos.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(photos / "1.jpg")
        (tmp_path / "prompts").mkdir(exist_ok=True)
        (tmp_path / "prompts" / f"{noun}.txt").write_text("a {} in the snow\n", encoding="utf-8")
        where = {"instance_data_dir": f"./benchmark_dataset/{name}", "prompt_filename": f"prompts/{noun}.txt"}
        entries.append({"instance_prompt": f"photo of a <new1> {noun}", "class_prompt": noun, **where})
    (tmp_path / "dataset.json").write_text(json.dumps(entries), encoding="utf-8")
    return tmp_path


def test_the_concepts_of_customconcept101(customconcept: Path) -> None:
    castle, canal = custom_concepts(customconcept)
    assert (castle.concept.name, castle.concept.class_noun) == ("scene_castle", "castle")
    assert castle.images == customconcept / "benchmark_dataset" / "scene_castle"
    assert canal.prompts == customconcept / "prompts" / "canal.txt"
    assert len(custom_concepts(customconcept, ["all"])) == 3
    words = ("--customconcept", str(customconcept), "--work", str(customconcept / "w"), "--subjects", "pet_dog1")
    assert [one.concept.class_noun for one in asked(*words).subjects] == ["dog"]
    with pytest.raises(UsageError, match="has no concept pet_dog2"):
        custom_concepts(customconcept, ["pet_dog2"])
    (customconcept / "prompts" / "canal.txt").unlink()
    with pytest.raises(AtomtuneError, match="1 of 2 concepts have no photos or no prompts: scene_canal"):
        custom_concepts(customconcept)
    for damage in ("{}", "[1]", '[{"class_prompt": "dog"}]', "["):
        (customconcept / "dataset.json").write_text(damage, encoding="utf-8")
        with pytest.raises(UsageError):
            custom_concepts(customconcept)
