"""Learning from the command line to the file: every process runs on a tiny model, and diffusers' way really learns."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from atomtune.models.base_model import load_pipeline, resolve
from benchmarks import end_to_end, pipeline
from benchmarks.compared import judged, table
from benchmarks.end_to_end import DECOMPOSE, DIFFUSERS, LOW_MEMORY, TARGETS, TRAIN, Work, targets_of
from benchmarks.inside.end_to_end import LAYERS, RANK, Images, Learning
from benchmarks.measure import Measured
from benchmarks.processes import Runner

SMALL = ["--steps", "2", "--side", "32"]
CPU = torch.device("cpu")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three drawn images, larger than what is learned from."""
    folder = tmp_path / "images"
    pipeline.draw(folder, side=48)
    return folder


@pytest.fixture
def fresh() -> Iterator[None]:
    """A state of accelerate's of its own: it takes one precision for the life of a process."""
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


def learn(model: Path, images: Path, precision: str = "fp32") -> Learning:
    return Learning(model, images, 32, CPU, precision)


def figures_of(model: Path, folder: Path, run: Runner, *more: str) -> dict[str, Any]:
    arguments = [*SMALL, "--work", str(folder), "--json", str(folder / "figures.json"), *more]
    assert end_to_end.main(arguments, model, 0, run) == 0
    figures: dict[str, Any] = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    return figures


def test_it_runs_on_a_tiny_model(
    tiny_model: Path, tmp_path: Path, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(end_to_end, "TRACED", 1)
    traces = tmp_path / "traces"
    cached: list[int] = []

    def watched(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Measured:
        before = set((folder / "cache").rglob("*.safetensors"))
        done = run(command, folder, environment)
        cached.append(len(set((folder / "cache").rglob("*.safetensors")) - before))
        return done

    figures = figures_of(tiny_model, tmp_path, watched, "--low-memory", "--profile", str(traces))
    rows = {row["what"]: row for row in figures["rows"]}
    assert list(rows) == [DECOMPOSE, TRAIN, LOW_MEMORY, DIFFUSERS]
    assert cached[:2] == [0, 1], "the model is built, decomposed, taught by us, …"
    assert not any(cached[2:]), "the decomposition is not part of the training"
    assert all((row["seconds"], row["peak_bytes"], row["gpu_bytes"]) == (1.0, 10**9, 0) for row in rows.values())
    for what in (TRAIN, LOW_MEMORY, DIFFUSERS):
        assert rows[what]["step_seconds"] > 0.0
        assert 2 * rows[what]["step_seconds"] + rows[what]["other_seconds"] == pytest.approx(1.0)
        assert rows[what]["bytes"] > 2 * rows[what]["trainable_parameters"] > 0
        assert "s a step" in rows[what]["note"]
    assert [rows[what]["ratios"] for what in (TRAIN, LOW_MEMORY, DIFFUSERS)] == [{"diffusers": 1.0}] * 2 + [{}]
    asked = {"device": "cpu", "threads": 1, "steps": 2, "side": 32, "precision": "fp32"}
    assert {name: figures[name] for name in asked} == asked
    for name in ("end_to_end", "end_to_end_low_memory", "end_to_end_diffusers"):
        trace = json.loads((traces / f"{name}.json").read_text(encoding="utf-8"))
        backward = [event for event in trace["traceEvents"] if "backward" in event.get("name", "").lower()]
        assert len(backward) > 100
    assert {path.name for path in tmp_path.iterdir()} == {"figures.json", "traces"}


@pytest.mark.slow
def test_in_processes_of_their_own(tiny_model: Path, tmp_path: Path) -> None:
    figures = figures_of(tiny_model, tmp_path, end_to_end.measured)
    assert all(row["peak_bytes"] > 100e6 for row in figures["rows"])
    assert all(row["other_seconds"] > 0.0 for row in figures["rows"][1:])


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_only_the_lora_learns(tiny_model: Path, images: Path, precision: str) -> None:
    learning = learn(tiny_model, images, precision)
    parts = {"unet": learning.unet, "vae": learning.vae, "text_encoder": learning.text_encoder}
    before = {
        (part, name): value.detach().clone()
        for part, module in parts.items()
        for name, value in module.named_parameters()
    }
    losses = learning.take(3)
    assert all(0.0 < loss < 10.0 for loss in losses)
    assert len(losses) == 3
    moved = set()
    for part, module in parts.items():
        for name, value in module.named_parameters():
            is_lora = "lora_" in name
            assert value.requires_grad == is_lora
            assert value.dtype == (torch.float32 if is_lora or precision == "fp32" else torch.bfloat16)
            if not torch.equal(value, before[part, name]):
                moved.add((part, name))
    assert moved == {(part, name) for part, name in before if "lora_" in name}
    layers = {name.partition(".lora_")[0] for _, name in moved}
    assert layers == {
        name
        for name, module in learning.unet.named_modules()
        if name.endswith(tuple(LAYERS)) and hasattr(module, "in_features")
    }
    assert all(RANK in value.shape for value in learning.parameters)


@pytest.mark.usefixtures("fresh")
def test_diffusers_loads_what_was_learned(tiny_model: Path, images: Path, tmp_path: Path) -> None:
    learning = learn(tiny_model, images)
    learning.take(1)
    inputs = (torch.randn(1, 4, 16, 16), torch.tensor([500]), torch.randn(1, 77, 16))
    with torch.no_grad():
        taught = learning.unet.eval()(*inputs).sample
    saved = learning.save(tmp_path / "lora")
    assert sum(value.numel() for value in load_file(saved).values()) == sum(x.numel() for x in learning.parameters)
    loaded: Any = load_pipeline(resolve(str(tiny_model)))
    assert isinstance(loaded, StableDiffusionPipeline)
    with torch.no_grad():
        base = loaded.unet(*inputs).sample
        loaded.load_lora_weights(saved.parent, weight_name=saved.name)
        again = loaded.unet(*inputs).sample
    assert not torch.allclose(base, taught, rtol=0.0, atol=1e-7)
    torch.testing.assert_close(again, taught)


def test_images_are_cut_out_and_scaled(tiny_model: Path, images: Path) -> None:
    tokenizer = load_pipeline(resolve(str(tiny_model))).tokenizer
    examples = Images(images, 32, tokenizer)
    assert len(examples) == len(list(images.iterdir()))
    example = examples[0]
    assert example["pixels"].shape == (3, 32, 32)
    assert -1.0 <= float(example["pixels"].min()) < 0.0 < float(example["pixels"].max()) <= 1.0
    assert tokenizer.decode(example["tokens"], skip_special_tokens=True) == "a photo of sks castle"
    assert example["tokens"].shape == (tokenizer.model_max_length,)


def test_targets_are_those_of_a_whole_run_on_a_gpu(tmp_path: Path, run: Runner) -> None:
    costs = {"peak_bytes": 3e9, "note": ""}
    rows = [
        {"what": TRAIN, "seconds": 40.0, "gpu_bytes": 9e9, "against": ["diffusers"], **costs},
        {"what": DIFFUSERS, "seconds": 150.0, "gpu_bytes": 5e9, "key": "diffusers", **costs},
    ]
    figures = judged({"device": "cuda", "rows": rows}, TARGETS)
    assert [verdict["holds"] for verdict in figures["targets"]] == [False, True, False]
    assert table(figures).count("**misses**") == 2
    assert judged({"device": "cpu", "rows": rows}, TARGETS)["targets"] == []
    assert targets_of(Work(tmp_path, run, "cuda", 1000, 512, "bf16")) == TARGETS
    assert targets_of(Work(tmp_path, run, "cuda", 100, 512, "bf16")) == ()
    assert targets_of(Work(tmp_path, run, "cuda", 1000, 256, "bf16")) == ()


def test_it_says_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def failing(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Measured:
        return Measured(1, "", "Error: it broke\n", 2.0, 1)

    assert end_to_end.main(["--work", str(tmp_path)], None, 0, failing) == 2
    assert "it broke" in capsys.readouterr().err
    assert end_to_end.main(["--work", str(tmp_path)], None, 10**18, failing) == 2
    assert "are free there" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
