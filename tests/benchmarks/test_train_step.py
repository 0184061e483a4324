"""The benchmarks of a training step and of training's memory, on a tiny model; and that each way is what it says."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from atomtune.adapt import adapted_layers
from atomtune.core import functional, thresholds
from atomtune.methods.select import select_layers
from atomtune.models.base_model import ModelSource, load_unet
from benchmarks import compared, memory, train_step
from benchmarks.inside.trainings import Strict, Trainings
from benchmarks.processes import Runner

SIDE = 32
CPU = torch.device("cpu")


def figures_of(benchmark: Any, words: list[str], model: Path, folder: Path, run: Runner) -> dict[str, Any]:
    place = ["--work", str(folder), "--json", str(folder / "figures.json"), "--profile", str(folder / "traces")]
    code = benchmark.main([*place, "--side", str(SIDE), *words], model, 0, run)
    figures: dict[str, Any] = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    assert code == (0 if figures["holds"] else 1)
    return figures


def events_in(trace: Path) -> int:
    return len(json.loads(trace.read_text(encoding="utf-8"))["traceEvents"])


def check_rows(figures: dict[str, Any], benchmark: Any) -> None:
    rows = figures["rows"]
    assert {target.what for target in benchmark.BENCHMARK.targets} <= {row["what"] for row in rows}
    assert {row["key"] for row in rows if "key" in row} == {"peft", "peft on attention"}
    assert set(rows[0]["ratios"]) == {"peft", "peft on attention"}
    assert all(f"{row['loss']:.5f}" in row["note"] for row in rows)
    assert [row["loss"] for row in rows] == pytest.approx([rows[0]["loss"]] * len(rows), rel=1e-3), "the base model's"
    assert f"{SIDE}×{SIDE} pixels" in figures["conditions"]


def test_a_step_of_each_way(tiny_model: Path, tmp_path: Path, run: Runner) -> None:
    figures = figures_of(train_step, ["--times", "1", "--preserve", "1"], tiny_model, tmp_path, run)
    check_rows(figures, train_step)
    assert [row["what"].endswith("our allocator") for row in figures["rows"]] == [*[False] * 4, True, False, False]
    (verdict,) = figures["targets"]
    ours, *_, theirs, _ = (row["seconds"] for row in figures["rows"])
    assert verdict["value"] == pytest.approx(ours / theirs)
    assert events_in(tmp_path / "traces" / "train_step.json") > 100
    assert {path.name for path in tmp_path.iterdir()} <= {"figures.json", "traces", "models", "cache"}


def test_the_memory_of_each_way(tiny_model: Path, tmp_path: Path, run: Runner) -> None:
    figures = figures_of(memory, [], tiny_model, tmp_path, run)
    check_rows(figures, memory)
    assert [row["peak_bytes"] for row in figures["rows"]] == [10**9] * 4
    assert figures["targets"] == []
    assert figures["rows"][0]["ratios"] == {"peft": 1.0, "peft on attention": 1.0}
    for variant in memory.BENCHMARK.variants:
        assert events_in(tmp_path / "traces" / f"memory-{variant}.json") > 100


@pytest.mark.slow
def test_in_processes_of_their_own(tiny_model: Path, tmp_path: Path) -> None:
    for module, words in ((train_step, ["--times", "1"]), (memory, [])):
        (folder := tmp_path / module.BENCHMARK.name).mkdir()
        figures = figures_of(module, words, tiny_model, folder, compared.measured)
        check_rows(figures, module)
    assert all(row["peak_bytes"] > 100e6 for row in figures["rows"])


@pytest.fixture
def trainings(tiny_model: Path) -> Trainings:
    return Trainings(str(tiny_model), CPU, "fp32", SIDE)


@pytest.fixture
def unets(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The UNets that are loaded from now on."""
    loaded: list[Any] = []

    def noted(source: ModelSource) -> Any:
        loaded.append(load_unet(source))
        return loaded[-1]

    monkeypatch.setattr("benchmarks.inside.trainings.load_unet", noted)
    return loaded


def _noted(apply: Callable[..., Any], taken: list[object], *inputs: Any) -> Any:
    taken.append(inputs[-1])
    return apply(*inputs)


def test_autograd_alone_trains_the_same_without_the_fast_path(
    trainings: Trainings, unets: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thresholds, "SMALL_WEIGHT", 0)  # so that layers this small take it too
    taken: list[object] = []
    noted = partial(_noted, functional._UpdatedLayer.apply, taken)
    monkeypatch.setattr(functional._UpdatedLayer, "apply", noted)
    ours = trainings.ours()
    losses = [ours.step() for _ in range(3)]
    assert len(taken) == 3 * len(adapted_layers(unets[0]))
    taken.clear()
    plain = trainings.ours(by_autograd=True)
    assert [plain.step() for _ in range(3)] == pytest.approx(losses, rel=1e-5)
    assert taken == []
    assert plain.parameters == ours.parameters
    assert len(set(losses)) == 3


def test_low_memory_is_asked_for(trainings: Trainings, unets: list[Any]) -> None:
    trainings.ours(low_memory=True).step()
    assert unets[0].is_gradient_checkpointing
    assert {layer.weight.dtype for layer in adapted_layers(unets[0]).values()} == {torch.float16}


def test_ours_have_the_allocator_of_train_and_peers_have_not(
    trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[None] = []
    monkeypatch.setattr("benchmarks.inside.trainings.keep_freed_memory", lambda: calls.append(None))
    trainings.peft("attention")
    assert calls == []
    for count, make in enumerate((trainings.ours, trainings.full, partial(trainings.peft, "all", keep_freed=True)), 1):
        make()
        assert len(calls) == count


@pytest.mark.parametrize("layers", ["all", "attention"])
def test_peft_is_on_these_layers_and_learns(layers: str, trainings: Trainings, unets: list[Any]) -> None:
    training = trainings.peft(layers)
    unet = unets[0]
    found = {name for name, module in unet.named_modules() if hasattr(module, "lora_A")}
    assert found == set(select_layers(load_unet(trainings.source), layers))
    trained = {name: p.detach().clone() for name, p in unet.named_parameters() if p.requires_grad}
    assert all(".lora_" in name for name in trained)
    assert training.parameters == sum(value.numel() for value in trained.values())
    training.step()
    moved = [not torch.equal(p, trained[name]) for name, p in unet.named_parameters() if name in trained]
    assert any(moved)


def test_full_fine_tuning_trains_everything(trainings: Trainings, unets: list[Any]) -> None:
    training = trainings.full()
    assert training.parameters == sum(parameter.numel() for parameter in unets[0].parameters())
    first = training.step()
    assert first == pytest.approx(trainings.peft("attention").step(), rel=1e-5)


def test_a_warning_ends_a_benchmark() -> None:
    with pytest.raises(RuntimeError, match="could not be recorded"):
        Strict().warn("the step could not be recorded")
