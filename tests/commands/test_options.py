"""Options on the command line and in files: keys, types, errors, other trainers' names, who wins."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from atomtune.commands.options.config_file import Values, read_config
from atomtune.commands.options.groups import atoms_source
from atomtune.data.concept import Concept
from atomtune.errors import UsageError
from atomtune.methods import METHODS, WeightDelta, register
from atomtune.methods.specs import PRESETS, LoLDUSpec, RankSpec, Spec
from atomtune.runtime.option import option
from atomtune.runtime.options import Options, options_of
from atomtune.sampling.options import image_size
from atomtune.training.options import TrainOptions

Cli = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class ExampleOptions(Options, panel="Example"):
    """Options of every kind."""

    steps: int = option(5, "Steps.", at_least=1, at_most=9, aliases=("max_train_steps",))
    lr: float | None = option(None, "Rate.", at_least=0)
    output: Path | None = option(None, "Folder.")
    flip: bool = option(False, "Mirror.")
    preset: str = option("c1", "Preset.", choices=("c1", "c2"))
    prompts: tuple[str, ...] = option((), "Prompt.", name="prompt")
    class_noun: str | None = option(None, "Noun.", formerly=("class_name",))


def read(folder: Path, text: str, name: str = "run.toml") -> Values:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return read_config(file, options_of(ExampleOptions)).values


def test_values_come_by_the_paths_of_their_options(tmp_path: Path) -> None:
    text = 'steps = 7\nlr = 1\noutput = "a/b"\nflip = true\npreset = "c2"\nprompt = ["x", "y"]\nclass-noun = "castle"'
    assert read(tmp_path, text) == {
        ("steps",): 7,
        ("lr",): 1,
        ("output",): "a/b",
        ("flip",): True,
        ("preset",): "c2",
        ("prompts",): ("x", "y"),
        ("class_noun",): "castle",
    }
    assert read(tmp_path, 'prompt = "x"') == read(tmp_path, 'prompts = "x"') == {("prompts",): ("x",)}
    assert read(tmp_path, "[example]\nsteps = 7") == read(tmp_path, "max_train_steps = 7") == {("steps",): 7}
    assert read(tmp_path, 'class_name = "x"') == {("class_noun",): "x"}
    assert read(tmp_path, "") == {}
    assert read(tmp_path, "\ufeffsteps = 7\r\n") == {("steps",): 7}  # as editors of Windows write it


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('steps = "many"', """'steps' must be a whole number from 1 to 9, not "many\""""),
        ("steps = 1.5", "'steps' must be a whole number from 1 to 9, not 1.5"),
        ("steps = true", "'steps' must be a whole number from 1 to 9, not true"),
        ("steps = 0", "'steps' must be a whole number from 1 to 9, not 0"),
        ("lr = -1.0", "'lr' must be a number of at least 0, not -1.0"),
        ('lr = "1e-3"', """'lr' must be a number of at least 0, not "1e-3\""""),
        ("output = 3", "'output' must be a path, not 3"),
        ("flip = 1", "'flip' must be true or false, not 1"),
        ('preset = "c9"', """'preset' must be one of c1, c2, not "c9\""""),
        ("prompt = 3", "'prompt' must be text or a list of them, not 3"),
        ('prompt = ["x", 3]', "'prompt' must be text, not 3"),
        ("stpes = 3", "unknown key 'stpes' (did you mean 'steps'?)"),
        ("zzz = 3", "unknown key 'zzz'"),
        ("[train]\nsteps = 3", "unknown key 'train'"),
        ("[example]\nzzz = 3", "unknown key 'example.zzz'"),
        ('class_noun = "a"\nclass-noun = "b"', "'class-noun' is given twice"),
        ("steps = 3\n[example]\nsteps = 3", "'example.steps' is given twice"),
        ("steps = = 3", "is not valid TOML"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert said in caught.value.message
    assert "\n" not in caught.value.message


def test_all_errors_are_listed_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, 'steps = "many"\nflip = 3\nzzz = 1\nlr = 0.1')
    assert len(caught.value.message.splitlines()) == 3
    assert caught.value.hint is not None
    assert "class_noun" in caught.value.hint


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_config(tmp_path / "none.toml", options_of(ExampleOptions))


def test_a_config_gives_defaults_and_the_command_line_wins(cli: Cli) -> None:
    Path("run.toml").write_text('concept = "castle"\npreset = "c1"\nlayers = "conv"\n', encoding="utf-8")
    assert cli("train", "--dry-run", "--config", "run.toml").out.startswith("custom on CompVis/stable-diffusion-v1-4")
    both = cli("train", "--dry-run", "--config", "run.toml", "--layers", "blocks")
    assert "total" in both.out
    assert both.out.startswith("c1 on CompVis/stable-diffusion-v1-4 would train 49,292 parameters")


def test_errors_of_a_config_all_show_on_the_command_line(cli: Cli) -> None:
    Path("run.toml").write_text('stpes = 3\nlr = "fast"\nresolution = 4\n', encoding="utf-8")
    answer = cli("train", "--config", "run.toml")
    assert answer.code == 2
    *errors, hint = answer.err.splitlines()
    assert [error.split(": ", 2)[2].split()[-1] for error in errors] == ["'steps'?)", '"fast"', "4"]
    assert hint.startswith("Hint: the keys are alpha, atoms, batch_size")


def test_all_that_is_wrong_on_the_command_line_is_said_at_once(cli: Cli) -> None:
    Path("run.toml").write_text("warmup = 2000\n", encoding="utf-8")
    words = [
        "--steps",
        "many",
        "--lr",
        "-1",
        "--crop",
        "round",
        "--rank",
        "2",
        "--method",
        "full",
        "--tracker",
        "excel",
    ]
    answer = cli("train", "--config", "run.toml", *words)
    assert answer.code == 2
    *errors, hint = answer.err.splitlines()
    assert {error.split()[1] for error in errors} == {
        *("--concept", "--steps", "--lr", "--crop", "--rank", "--tracker"),
    }
    assert 'Error: --steps must be a whole number of at least 1, not "many"' in errors
    assert 'Error: --crop must be one of center, random, smart, not "round"' in errors
    assert hint.startswith("Hint: ")
    assert "run.toml: 'warmup' needs an lr_scheduler" in cli("train", "--config", "run.toml", "--concept", "mug").err


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[TrainOptions, Any]]:
    """The options of every training asked for, and those of them that were given; none takes place."""
    seen: list[tuple[TrainOptions, Any]] = []

    def run(options: TrainOptions, _output: Path, *, explicit: frozenset[str], **_rest: Any) -> None:
        seen.append((options, explicit))
        raise UsageError("enough")

    monkeypatch.setattr("atomtune.training.train.train", run)
    return seen


@pytest.mark.parametrize("grouped", [True, False], ids=["run.json of today", "run.json of 0.1"])
def test_a_runs_record_gives_its_options_again(
    cli: Cli, trained: list[tuple[TrainOptions, Any]], grouped: bool
) -> None:
    options = TrainOptions(
        concept=Concept("rex", "dog", "zwx"),
        images=Path("photos"),
        method="loldu",
        spec=LoLDUSpec(rank=4, start="zeros"),
        steps=7,
        lr=0.002,
        flip=True,
        resolution=64,
        sample_every=3,
        sample_prompts=("a {}", "b {}"),
        min_snr_gamma=5.0,
        cuda_graph=False,
    )
    told = options.to_dict() if grouped else options.flat_dict()
    Path("run.json").write_text(json.dumps({"options": told, "base_fingerprint": "ab", "images": []}), encoding="utf-8")
    cli("train", "--config", "run.json")
    assert trained[0][0] == options
    cli("train", "--config", "run.json", "--steps", "9", "--no-flip", "--concept", "mia", "--rank", "8")
    again = trained[1][0]
    assert (again.steps, again.flip, again.concept.name, again.concept.class_noun) == (9, False, "mia", "dog")
    assert again.spec == LoLDUSpec(rank=8, start="zeros")


def test_what_follows_from_a_records_name_is_not_another_concepts(
    cli: Cli, trained: list[tuple[TrainOptions, Any]]
) -> None:
    record = TrainOptions(concept=Concept("rex"), steps=3)
    Path("run.json").write_text(json.dumps({"options": record.to_dict()}), encoding="utf-8")
    cli("train", "--config", "run.json", "--concept", "mia")
    cli("train", "--config", "run.json", "--concept", "mia", "--token", "sks")
    cli("train", "--config", "run.json", "--token-vectors", "2", "--train-token")
    assert [(one.concept, one.images) for one, _ in trained] == [
        (Concept("mia"), Path("concepts/mia")),
        (Concept("mia", "mia", "sks"), Path("concepts/mia")),
        (Concept("rex", token_vectors=2), Path("concepts/rex")),
    ]


def test_another_method_or_preset_than_the_records_takes_its_own_defaults(
    cli: Cli, trained: list[tuple[TrainOptions, Any]]
) -> None:
    record = TrainOptions(concept=Concept("rex"), spec=PRESETS["c3"], lr=0.02)
    Path("run.json").write_text(json.dumps({"options": record.to_dict()}), encoding="utf-8")
    cli("train", "--config", "run.json", "--method", "lora", "--rank", "2")
    cli("train", "--config", "run.json", "--preset", "c1")
    assert (trained[0][0].spec, trained[0][0].lr) == (RankSpec(rank=2), 1e-3)
    assert (trained[1][0].spec, trained[1][0].lr) == (PRESETS["c1"], 0.02)


def test_prepare_takes_a_runs_record_too(cli: Cli) -> None:
    record = TrainOptions(concept=Concept("rex"), images=Path("nowhere"), steps=3)
    Path("run.json").write_text(json.dumps({"options": record.to_dict()}), encoding="utf-8")
    assert "there is no folder nowhere" in cli("prepare", "--config", "run.json").err


def test_a_record_without_options_is_refused(cli: Cli) -> None:
    Path("run.json").write_text("{}", encoding="utf-8")
    assert "run.json is not a run's record: it has no options" in cli("train", "--config", "run.json").err


DREAMBOOTH = [
    *("--pretrained_model_name_or_path", "pocket", "--instance_data_dir", "photos", "--instance_prompt", "a {}"),
    *("--learning_rate", "1e-4", "--max_train_steps", "30", "--train_batch_size", "2", "--with_prior_preservation"),
    *("--gradient_accumulation_steps=3", "--class_prompt", "a dog", "--num_class_images", "9", "--snr_gamma", "5"),
    *("--prior_loss_weight", "0.5", "--lr_warmup_steps", "4", "--lr_scheduler", "cosine", "--mixed_precision", "bf16"),
    *("--checkpointing_steps", "10", "--use_ema", "--report_to", "tensorboard", "--max-grad-norm", "2"),
    *("--output_dir", "out", "--gradient-checkpointing"),
]


def test_the_names_of_dreambooths_script_are_understood(cli: Cli, trained: list[tuple[TrainOptions, Any]]) -> None:
    answer = cli("train", "--concept", "rex", *DREAMBOOTH)
    assert "enough" in answer.err
    ((options, _),) = trained
    expected = TrainOptions(
        concept=Concept("rex"),
        model="pocket",
        images=Path("photos"),
        prompt="a {}",
        lr=1e-4,
        steps=30,
        batch_size=2,
        grad_accum=3,
        prior_preservation=True,
        prior_prompt="a dog",
        prior_images=9,
        prior_weight=0.5,
        min_snr_gamma=5.0,
        warmup=4,
        lr_scheduler="cosine",
        precision="bf16",
        checkpoint_every=10,
        ema=True,
        tracker="tensorboard",
        max_grad_norm=2.0,
        gradient_checkpointing=True,
    )
    assert options == expected


def test_the_names_of_kohyas_script_are_understood(cli: Cli, trained: list[tuple[TrainOptions, Any]]) -> None:
    words = ["--network_dim=4", "--network_alpha", "2", "--optimizer_type", "AdamW", "--lr_scheduler_num_cycles", "2"]
    cli("train", "--concept", "rex", "--method", "lora", *words, "--min_snr_gamma", "5", "--noise_offset", "0.1")
    ((options, _),) = trained
    assert options.spec == RankSpec(rank=4, alpha=2)
    assert (options.optimizer, options.lr_cycles, options.noise_offset) == ("adamw", 2, 0.1)


@pytest.mark.parametrize(
    ("command", "given", "said"),
    [
        ("train", "--use_8bit_adam", "--optimizer adamw8bit"),
        ("train", "--network_module=lycoris", "--method"),
        ("train", "--max-train-epochs", "--steps"),
        ("sample", "--sampler_name", "--scheduler"),
    ],
)
def test_other_names_are_answered_with_ours(cli: Cli, command: str, given: str, said: str) -> None:
    answer = cli(command, given, "5")
    assert answer.code == 2
    error, hint = answer.err.splitlines()
    assert error == f"Error: there is no option {given.partition('=')[0]}"
    assert said in hint


def test_former_names_still_do_what_they_did_and_tell_the_new_one(
    cli: Cli, trained: list[tuple[TrainOptions, Any]]
) -> None:
    answer = cli("train", "--concept", "rex", "--class-name", "dog")
    assert answer.err.splitlines()[0] == "Warning: --class-name is called --class-noun now"
    assert trained[0][0].concept == Concept("rex", "dog")


def test_what_was_given_is_told_by_field(cli: Cli, trained: list[tuple[TrainOptions, Any]]) -> None:
    Path("run.toml").write_text("steps = 5\n", encoding="utf-8")
    cli("train", "--concept", "rex", "--token", "zwx", "--config", "run.toml", "--preset", "c1", "--sample-every", "2")
    assert trained[0][1] == {"concept", "steps", "spec", "sample_every"}
    cli("train", "--concept", "rex")
    assert trained[1][1] == set(), "the concept's name says which run is meant, not how it is to be changed"


def test_any_field_of_a_spec_can_be_given_by_its_name(cli: Cli, trained: list[tuple[TrainOptions, Any]]) -> None:
    cli("train", "--concept", "rex", "--method", "loldu", "--method-arg", "rank=4", "--method-arg", "start=ones")
    assert trained[0][0].spec == LoLDUSpec(rank=4, start="ones")
    answer = cli("train", "--concept", "rex", "--method-arg", "depth=4")
    assert "depth is not an option of the method atoms, which has layers, atoms" in answer.err


def test_the_fields_of_a_method_of_ones_own_are_options(cli: Cli, trained: list[tuple[TrainOptions, Any]]) -> None:
    @dataclass(frozen=True)
    class OwnSpec(Spec):
        limit: float = 1.0
        quick: bool = False
        steps: int = 3

    register("row-scale", "a factor for each output", spec=OwnSpec, learning_rate=0.25)(lambda *_: WeightDelta())
    try:
        words = ["--method", "row-scale", "--limit", "0.5", "--quick", "--layers=conv", "--steps", "9"]
        words += ["--method-arg", "steps=7"]
        cli("train", "--concept", "rex", *words)
        ((options, _),) = trained
        assert options.spec == OwnSpec(layers="conv", limit=0.5, quick=True, steps=7)
        assert (options.lr, options.steps, options.preset) == (0.25, 9, "row-scale")
        assert TrainOptions.from_dict(json.loads(json.dumps(options.to_dict()))) == options
        listed = {option.name: option.path for option in options_of(TrainOptions)}
        assert (listed["limit"], listed["steps"]) == (("spec", "limit"), ("steps",))
        assert "rank is not an option" in cli("train", "--concept", "rex", *words, "--rank", "4").err
    finally:
        METHODS.remove("row-scale")


@pytest.mark.parametrize(
    ("text", "file", "scale"),
    [
        ("a.safetensors", "a.safetensors", 1.0),
        ("a.safetensors:0.5", "a.safetensors", 0.5),
        ("C:/a.safetensors", "C:/a.safetensors", 1.0),
        ("C:/a.safetensors:-1", "C:/a.safetensors", -1.0),
        ("a:b", "a:b", 1.0),
    ],
)
def test_atoms_files_may_name_their_scale(text: str, file: str, scale: float) -> None:
    assert atoms_source(text) == (Path(file), scale)


def test_a_file_whose_name_ends_like_a_scale_is_that_file(tmp_path: Path) -> None:
    file = tmp_path / "a:2"
    file.touch()
    assert atoms_source(str(file)) == (file, 1.0)
    assert atoms_source(f"{file}:3") == (file, 3.0)


def test_sizes_are_one_number_or_two() -> None:
    assert image_size("512") == image_size(512) == (512, 512)
    assert image_size("768x512") == (768, 512)
    for text in ("", "x", "1x2x3", "-8", "8.5", "8 x 8"):
        with pytest.raises(ValueError, match="must be a side in pixels"):
            image_size(text)
