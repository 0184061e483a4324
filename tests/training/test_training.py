"""What the training options do to a run on the tiny model, and that a run goes on bit-equal under all of them."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import atomtune
from atomtune.data.concept import Concept
from atomtune.errors import AtomtuneError, Interrupted, UsageError
from atomtune.files.atoms_file import load_atoms
from atomtune.files.checkpoint import Checkpoint, load_checkpoint
from atomtune.methods.specs import PRESETS
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.runtime.progress import Events
from atomtune.training.loop import Loop
from atomtune.training.options import TrainOptions
from atomtune.training.preview import Preview
from atomtune.training.prior_preservation import ClassImages, class_images
from atomtune.training.train import train

Options = Callable[..., TrainOptions]
C1 = PRESETS["c1"]
SHORT: dict[str, Any] = {"spec": C1, "steps": 3}
LAUNCHER = Path(atomtune.__file__).parents[1] / "cli.py"


def state(run: Path) -> Checkpoint:
    return load_checkpoint(run / "checkpoint.safetensors")


def log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def agree(one: Path, other: Path) -> None:
    """The two runs end alike but for rounding: a hundredth of how far they moved.

    Not number by number, as AdamW makes a whole step of a gradient that is little more than rounding.
    """
    first, second = state(one), state(other)
    assert first.losses == pytest.approx(second.losses, rel=1e-4)
    for name, value in first.parameters.items():
        assert (value - second.parameters[name]).norm() < 1e-2 * value.norm(), name


def test_accumulated_batches_are_one_large_batch(options: Options, tmp_path: Path) -> None:
    train(options(**SHORT, batch_size=1, grad_accum=4), tmp_path / "parts")
    train(options(**SHORT, batch_size=4), tmp_path / "whole")
    agree(tmp_path / "parts", tmp_path / "whole")


def test_gradient_checkpointing_computes_the_same(options: Options, tmp_path: Path) -> None:
    train(options(**SHORT, gradient_checkpointing=True), tmp_path / "again")
    train(options(**SHORT), tmp_path / "plain")
    agree(tmp_path / "again", tmp_path / "plain")


def test_only_gradients_over_the_norm_are_cut(options: Options, tmp_path: Path) -> None:
    free = train(options(**SHORT, max_grad_norm=0.0), tmp_path / "free")
    assert train(options(**SHORT, max_grad_norm=1e9), tmp_path / "wide").sha256 == free.sha256
    assert train(options(**SHORT, max_grad_norm=1e-6), tmp_path / "tight").sha256 != free.sha256


def test_an_interrupted_run_with_everything_on_ends_bit_equal(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = options(
        spec=C1,
        steps=4,
        batch_size=1,
        flip=True,
        grad_accum=2,
        gradient_checkpointing=True,
        lr_scheduler="cosine",
        warmup=2,
        min_snr_gamma=5.0,
        noise_offset=0.1,
        timesteps="logit-normal",
        caption_dropout=0.2,
        prior_preservation=True,
        prior_images=2,
        ema=True,
        sample_every=3,
        sample_steps=2,
    )
    whole = train(everything, tmp_path / "whole")
    any_process = Loop.any_process
    monkeypatch.setattr(Loop, "any_process", lambda self, _flag: self.step == 2)
    with pytest.raises(Interrupted):
        train(everything, tmp_path / "parts")
    monkeypatch.setattr(Loop, "any_process", any_process)
    resumed = train(everything, tmp_path / "parts", resume=True)
    assert (resumed.resumed_from, resumed.sha256) == (2, whole.sha256)
    one, other = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert same(one.parameters, other.parameters)
    assert same(one.average, other.average)
    assert (one.losses, one.schedule) == (other.losses, other.schedule)
    rates = [entry["lr"] for entry in log(tmp_path / "parts")]
    assert rates == pytest.approx([0.0, 5e-4, 1e-3, 5e-4])
    drawn = [Image.open(tmp_path / run / "previews" / "step-000003-0.png").tobytes() for run in ("whole", "parts")]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("scheduler", ["constant-with-warmup", "linear"])
def test_more_steps_only_where_the_schedule_allows_it(options: Options, tmp_path: Path, scheduler: str) -> None:
    short = options(**SHORT, lr_scheduler=scheduler, warmup=1)
    train(short, tmp_path / "run")
    longer = options(spec=C1, steps=4, lr_scheduler=scheduler, warmup=1)
    if scheduler == "linear":
        with pytest.raises(UsageError, match="begun with 3 steps, which its linear learning rate depends on"):
            train(longer, tmp_path / "run", resume=True, explicit=frozenset({"steps"}))
    else:
        result = train(longer, tmp_path / "run", resume=True, explicit=frozenset({"steps"}))
        assert result.sha256 == train(longer, tmp_path / "whole").sha256


def test_the_average_is_written_and_drawn(options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[dict[str, Tensor]] = []

    def keep(self: Preview, step: int) -> None:
        named = self.pipeline.unet.named_parameters()
        drawn.append({name: value.detach().clone() for name, value in named if name.endswith("delta_atoms")})

    plain = train(options(**SHORT), tmp_path / "plain")
    assert train(options(**SHORT, ema=True, ema_decay=0.0), tmp_path / "last").sha256 == plain.sha256
    monkeypatch.setattr(Preview, "generate", keep)
    averaged = train(options(**SHORT, ema=True, sample_every=3), tmp_path / "averaged")
    assert averaged.sha256 != plain.sha256
    held = state(tmp_path / "averaged")
    assert same(held.parameters, state(tmp_path / "plain").parameters)
    assert len(drawn) == 1
    shown = sum(float(value.abs().sum()) for value in drawn[0].values())
    assert shown == pytest.approx(sum(float(value.abs().sum()) for value in held.average.values()), rel=1e-5)
    written = load_atoms(averaged.atoms_file)[0]
    assert any(not torch.equal(value, load_atoms(plain.atoms_file)[0][name]) for name, value in written.items())


def test_class_images_are_drawn_once_and_kept(options: Options, tmp_path: Path) -> None:
    class Count(Events):
        drawn = 0

        def advance(self, note: str = "") -> None:
            self.drawn += 1

    asked = options(prior_preservation=True, prior_images=6, resolution=32, prior_prompt="a {} by the sea")
    asked = replace(asked, precision="fp32")  # what `auto` is on the CPU
    pipeline = load_pipeline(resolve(asked.model))
    alone = SimpleNamespace(process_index=0, num_processes=1, device=torch.device("cpu"), wait_for_everyone=lambda: 0)

    def wanted(options: TrainOptions) -> ClassImages:
        return ClassImages.of(options, (options.resolution or 0,) * 2, options.prior_images)

    def draw() -> tuple[list[bytes], int]:
        events = Count()
        images = class_images(pipeline, wanted(asked), "ab" * 32, alone, events)
        return [image.tobytes() for image in images], events.drawn

    folder = wanted(asked).folder("ab" * 32)
    first, drawn = draw()
    assert (len(first), len(set(first)), drawn) == (6, 6, 8)
    assert (folder / "prompt.txt").read_text(encoding="utf-8") == "a castle by the sea\n"
    assert draw() == (first, 0)
    (folder / "00005.png").write_bytes((folder / "00005.png").read_bytes()[:40])
    (folder / "00007.png").unlink()
    assert draw() == (first, 4)
    for changed in ({"prior_prompt": "a castle"}, {"seed": 1}, {"resolution": 64}, {"precision": "bf16"}):
        other = options(
            **{
                "precision": "fp32",
                "prior_preservation": True,
                "resolution": 32,
                "prior_prompt": "a {} by the sea",
                **changed,
            }
        )
        assert wanted(other).folder("ab" * 32) != folder
    assert wanted(asked).folder("cd" * 32) != folder


def test_the_class_prompt_names_the_class(options: Options) -> None:
    castle = Concept("home", "castle", "sks")

    def class_prompt(prompt: str) -> str:
        return options(prior_preservation=True, prior_prompt=prompt, concept=castle, prompt="a {}").class_prompt(castle)

    assert options().class_prompt(castle) == "a photo of a castle"
    assert class_prompt("old {}") == class_prompt("old <home>") == "old castle"
    for wrong in ("a sks castle", "a <dog>"):
        with pytest.raises(UsageError, match="prior_prompt"):
            class_prompt(wrong)


@pytest.mark.parametrize("prompt", ["a photo of a cat", "a photo of a category", "risks", "a <dog>", "a <lora:cat:1>"])
def test_a_prompt_that_does_not_name_the_concept_is_refused(prompt: str, options: Options) -> None:
    cat = Concept("cat", "cat", "sks")
    with pytest.raises(UsageError, match="prompt"):
        options(concept=cat, prompt=prompt)
    for right in ("a photo of a {}", "a <cat> asleep", "SKS cat, from above"):
        assert options(concept=cat, prompt=right).prompt == right


def test_a_prior_without_weight_changes_nothing_but_rounding(options: Options, tmp_path: Path) -> None:
    with_prior = {"prior_preservation": True, "prior_images": 2}
    train(options(**SHORT), tmp_path / "plain")
    train(options(**SHORT, **with_prior, prior_weight=0.0), tmp_path / "weightless")
    agree(tmp_path / "plain", tmp_path / "weightless")
    train(options(**SHORT, **with_prior), tmp_path / "weighed")
    assert state(tmp_path / "weighed").losses[0] > 1.2 * state(tmp_path / "plain").losses[0]


def test_a_tracker_that_is_not_there_stops_before_anything_is_written(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(AtomtuneError, match="needs the package wandb"):
        train(options(tracker="wandb"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_tensorboard_gets_every_step(options: Options, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(options(**SHORT, tracker="tensorboard"), tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3]
    assert [event.value for event in events.Scalars("lr")] == pytest.approx([1e-3] * 3)
    assert train(options(**SHORT), tmp_path / "run", overwrite=True).steps == 3
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_every_wrong_option_is_named_at_once(options: Options) -> None:
    wrong: dict[str, Any] = {
        "grad_accum": 0,
        "optimizer": "sgd",
        "lr_scheduler": "wavy",
        "warmup": 6,
        "lr_power": 0.0,
        "max_grad_norm": -1.0,
        "min_snr_gamma": 0.0,
        "noise_offset": -0.1,
        "token_lr": -1.0,
        "prior_images": 0,
        "prior_weight": -1.0,
        "prior_prompt": "a castle",
        "preserve": -1.0,
        "preserve_every": 0,
        "ema_decay": 1.0,
        "tracker": "paper",
    }
    with pytest.raises(UsageError) as refused:
        options(**wrong)
    assert {line.split()[0] for line in refused.value.message.splitlines()} == set(wrong)
    with pytest.raises(UsageError, match="warmup needs an lr_scheduler"):
        options(warmup=2)


@pytest.mark.slow
def test_two_processes_are_one_with_the_summed_batch(
    tiny_model: Path, images: Path, options: Options, tmp_path: Path
) -> None:
    shared: dict[str, Any] = {**SHORT, "prior_preservation": True, "prior_images": 8, "preserve": 0.5}
    train(options(**shared, batch_size=4, preserve_rows=4), tmp_path / "one")
    flags = f"--concept castle --images {images} --model {tiny_model} --device cpu --preset c1 --steps 3 --json"
    flags += f" --batch-size 1 --grad-accum 2 --prior-preservation --prior-images 8 --output {tmp_path / 'two'}"
    flags += " --preserve 0.5 --preserve-rows 1 --token sks"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(LAUNCHER)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ATOMTUNE_CACHE": str(tmp_path / "other-cache")}
    command = [*launch, "train", *flags.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 3, "both processes wrote a result, or none"
    agree(tmp_path / "one", tmp_path / "two")
    with pytest.raises(UsageError, match="begun with 2 processes, not 1"):
        train(options(**shared), tmp_path / "two", resume=True, explicit=frozenset())
