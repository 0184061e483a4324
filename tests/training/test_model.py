"""Where a model in training is held, in which types, and with how little memory."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from atomtune.adapt import AdaptedLayer, adapted_layers
from atomtune.core.deltas import AtomDelta
from atomtune.files.checkpoint import load_checkpoint
from atomtune.methods.atoms import Atoms
from atomtune.methods.specs import AtomsSpec
from atomtune.models.base_model import load_pipeline, resolve
from atomtune.runtime.malloc import keep_freed_memory
from atomtune.runtime.progress import Events
from atomtune.training.model import place
from atomtune.training.options import TrainOptions
from atomtune.training.preview import Preview
from atomtune.training.run_folder import RunFolder
from atomtune.training.train import train

Options = Callable[..., TrainOptions]
CPU = torch.device("cpu")


@pytest.fixture
def pipeline(tiny_model: Path) -> Any:
    """The tiny pipeline with deltas on its UNet, some of which hold coefficients."""
    loaded = load_pipeline(resolve(str(tiny_model)))
    Atoms().attach(loaded.unet, AtomsSpec())
    return loaded


def held_types(model: nn.Module) -> dict[str, set[torch.dtype]]:
    """The types of what an adapted model holds."""
    adapted = [layer for layer in model.modules() if isinstance(layer, AdaptedLayer)]
    others = [module for module in model.modules() if not isinstance(module, AdaptedLayer | AtomDelta)]
    deltas = [delta for layer in adapted for delta in layer.deltas.values()]
    return {
        "weights": {layer.weight.dtype for layer in adapted},
        "others": {p.dtype for module in others for p in module.parameters(recurse=False)},
        "coefficients": {d.placed.dtype for d in deltas if isinstance(d, AtomDelta) and d.placed is not None},
        "trained": {p.dtype for delta in deltas for p in delta.parameters()},
    }


def test_all_is_float32_by_default(pipeline: Any, options: Options) -> None:
    place(pipeline.unet, [], options(), "fp32", CPU)
    assert set().union(*held_types(pipeline.unet).values()) == {torch.float32}
    filters = [layer for layer in adapted_layers(pipeline.unet).values() if layer.weight.dim() == 4]
    assert all(layer.weight.is_contiguous(memory_format=torch.channels_last) for layer in filters)


def test_low_memory_holds_what_is_frozen_in_half_the_bytes(pipeline: Any, options: Options) -> None:
    layers = adapted_layers(pipeline.unet)
    before = {name: delta_of(layer).coefficients(layer.weight) for name, layer in layers.items()}
    place(pipeline.unet, [], options(low_memory=True), "fp32", CPU)
    assert held_types(pipeline.unet) == {
        "weights": {torch.float16},
        "others": {torch.float32},
        "coefficients": {torch.float16},
        "trained": {torch.float32},
    }
    assert pipeline.unet.is_gradient_checkpointing
    for name, layer in adapted_layers(pipeline.unet).items():
        if delta_of(layer).placed is not None:
            found = delta_of(layer).coefficients(layer.weight)
            assert torch.equal(found, before[name].half().float()), "float16 holds α exactly"


def delta_of(layer: AdaptedLayer) -> AtomDelta:
    delta = layer.deltas["default"]
    assert isinstance(delta, AtomDelta)
    return delta


def test_a_run_with_low_memory_ends_near_the_plain_one(options: Options, tmp_path: Path) -> None:
    drawn: dict[str, Any] = {"spec": AtomsSpec(), "sample_every": 3, "sample_steps": 2}
    train(options(**drawn), tmp_path / "plain")
    train(options(**drawn, low_memory=True), tmp_path / "low")
    one, other = (load_checkpoint(tmp_path / run / "checkpoint.safetensors") for run in ("plain", "low"))
    assert one.losses == pytest.approx(other.losses, rel=1e-3)  # weights rounded to float16
    for name, value in one.parameters.items():
        assert (value - other.parameters[name]).norm() < 0.2 * value.norm(), name
    assert (tmp_path / "low" / "previews.png").is_file()


def test_other_methods_go_with_low_memory_too(options: Options, tmp_path: Path) -> None:
    from atomtune.methods.specs import RankSpec

    result = train(options(method="lora", spec=RankSpec(rank=2), low_memory=True, steps=2), tmp_path / "run")
    assert result.steps == 2


def test_previews_make_each_weight_once(
    pipeline: Any, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    adapted_weight = AdaptedLayer.adapted_weight

    def counted(self: AdaptedLayer) -> torch.Tensor:
        if self.cached_weight is None:
            made.append(str(self))
        return adapted_weight(self)

    monkeypatch.setattr(AdaptedLayer, "adapted_weight", counted)
    Preview(pipeline, options(sample_steps=3), ["a castle"], 0, RunFolder(tmp_path), CPU, Events()).generate(1)
    assert len(made) == len(adapted_layers(pipeline.unet))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc")
def test_freed_memory_is_kept() -> None:
    # in a process of its own, as it changes the process for good; page faults are counted, nothing is timed
    program = """
import resource, torch
from atomtune.runtime.malloc import keep_freed_memory
def faults(count=2**24):  # 64 MiB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(count)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
usual = faults()
kept = keep_freed_memory()
faults()
# a little less, as small objects may have taken a bite of what was freed
print(int(kept), usual, faults(2**24 - 2**18))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    kept, usual, after = map(int, done.stdout.split())
    if not kept:
        pytest.skip("another C library")
    assert usual > 1000
    assert after < usual / 100


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
