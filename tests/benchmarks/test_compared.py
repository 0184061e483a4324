"""The benchmarks of decomposing, merging and swapping, on a tiny model: every row, ratio, target and trace is there."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import compared, decompose, merge, swap
from benchmarks.compared import Benchmark, Target, judged, table
from benchmarks.inside import textbook
from benchmarks.inside.decompose import filters
from benchmarks.measure import Measured
from benchmarks.processes import Runner

ALL = [decompose, merge, swap]


def figures_of(benchmark: Any, model: Path, folder: Path, run: Runner) -> dict[str, Any]:
    arguments = ["--work", str(folder), "--json", str(folder / "figures.json"), "--profile", str(folder / "traces")]
    code = benchmark.main(arguments, model, 0, run)
    figures: dict[str, Any] = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    assert code == (0 if figures["holds"] else 1)
    return figures


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    # the layer of the textbook's solver, in small
    monkeypatch.setattr("benchmarks.inside.decompose.LAYER", (16, 16, 3, 3))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("benchmark_", ALL, ids=lambda module: module.BENCHMARK.name)
def test_it_runs_on_a_tiny_model(benchmark_: Any, tiny_model: Path, tmp_path: Path, run: Runner) -> None:
    figures = figures_of(benchmark_, tiny_model, tmp_path, run)
    assert figures["machine"]["cores"]
    assert figures["versions"]["torch"]
    assert figures["device"] == "cpu"
    assert all(row["seconds"] > 0.0 for row in figures["rows"])
    names = {row["what"] for row in figures["rows"]}
    assert {target.what for target in benchmark_.BENCHMARK.targets} <= names
    compared_ones = [row for row in figures["rows"] if row["ratios"]]
    assert compared_ones
    for row in compared_ones:
        for peer, ratio in row["ratios"].items():
            (seconds,) = [other["seconds"] for other in figures["rows"] if other.get("key") == peer]
            assert ratio == pytest.approx(seconds / row["seconds"])
    trace = json.loads((tmp_path / "traces" / f"{benchmark_.BENCHMARK.name}.json").read_text(encoding="utf-8"))
    assert len(trace["traceEvents"]) > 100
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("figures.json", "traces", "model")] == []


def test_the_command_is_measured_with_its_peak(tiny_model: Path, tmp_path: Path, run: Runner) -> None:
    tmp_path.joinpath("w").mkdir()
    work = tmp_path / "w"
    run(["python", "-m", "benchmarks.pipeline", "model", "--configs", str(tiny_model), "--float32"], work, {})
    whole, helped = decompose.commands(work, run, "cpu")
    assert (whole["seconds"], whole["peak_bytes"], helped["seconds"]) == (1.0, 10**9, 1.0)
    assert "written" in whole["note"]


@pytest.mark.slow
def test_in_processes_of_their_own(tiny_model: Path, tmp_path: Path) -> None:
    for module in ALL:
        (folder := tmp_path / module.BENCHMARK.name).mkdir()
        figures = figures_of(module, tiny_model, folder, compared.measured)
        assert all(row["seconds"] > 0.0 for row in figures["rows"])
        if module is decompose:
            assert figures["rows"][0]["peak_bytes"] > 100e6


def test_targets_are_those_of_the_device() -> None:
    row = {"what": "it", "seconds": 2.0, "note": "", "peak_bytes": 3e9, "against": ["peer"]}
    peer = {"what": "peer", "seconds": 5.0, "note": "slow", "key": "peer"}
    targets = [Target("it", "seconds", 2), Target("it", "peak_bytes", 2e9), Target("it", "seconds", 1, "cuda")]
    on_cpu = judged({"device": "cpu", "rows": [row, peer]}, targets)
    assert [(v["value"], v["limit"], v["holds"]) for v in on_cpu["targets"]] == [(2.0, 2, True), (3e9, 2e9, False)]
    assert not on_cpu["holds"]
    on_gpu = judged({"device": "cuda:0", "rows": [row, peer]}, targets)
    assert [(v["value"], v["limit"]) for v in on_gpu["targets"]] == [(2.0, 1)]
    shown = table(on_cpu)
    assert "| it | 2.00 | 3.00 | 2.50 |  |" in shown
    assert "| peer | 5.00 |  |  | slow |" in shown
    assert shown.count("**misses**") == 1


def test_a_target_can_be_a_share_of_a_peers_figure() -> None:
    row = {"what": "it", "seconds": 2.0, "note": "", "peak_bytes": 3e9, "against": ["peer"]}
    peer = {"what": "the peer", "seconds": 5.0, "note": "", "peak_bytes": 2e9, "key": "peer"}
    targets = [Target("it", "seconds", 0.5, of="peer"), Target("it", "peak_bytes", 1.2, of="peer")]
    figures = judged({"device": "cpu", "rows": [row, peer]}, targets)
    assert [(v["value"], v["of"], v["holds"]) for v in figures["targets"]] == [
        (0.4, "peer", True),
        (1.5, "peer", False),
    ]
    shown = table(figures)
    assert "| it: 0.40 × peer | ≤ 0.50 × peer | holds |" in shown
    assert "| it: 1.50 × peer | ≤ 1.20 × peer | **misses** |" in shown


def test_rows_can_be_compared_by_their_memory() -> None:
    row = {"what": "it", "seconds": 2.0, "note": "", "peak_bytes": 3e9, "against": ["peer"]}
    peer = {"what": "the peer", "seconds": 5.0, "note": "", "peak_bytes": 6e9, "key": "peer"}
    figures = judged({"device": "cpu", "rows": [row, peer]}, (), "peak_bytes")
    assert figures["rows"][0]["ratios"] == {"peer": 2.0}
    shown = table(figures)
    assert "times smaller than peer" in shown
    assert "| it | 2.00 | 3.00 | 2.00 |  |" in shown


def test_variants_run_in_processes_of_their_own_with_what_was_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands: list[list[str]] = []

    def answering(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Measured:
        commands.append(list(command[3:]))
        told = {"device": "cpu", "threads": 1, "conditions": ["in the rain"], "rows": []}
        if "--variant" in command:
            variant = command[-1]
            own = {"peak_bytes": 7} if variant == "b" else {}
            told["rows"] = [{"what": variant, "seconds": 1.0, "note": "", **own}]
        return Measured(0, json.dumps(told), "", 2.0, 10**9)

    both = Benchmark("one", "about", 0, (), options=(("side", "length"), ("times", "count")), variants=("a", "b"))
    place = ["--work", str(tmp_path), "--json", str(tmp_path / "figures.json")]
    assert both.main([*place, "--side", "3"], None, 0, answering) == 0
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert [(row["what"], row["peak_bytes"]) for row in figures["rows"]] == [("a", 10**9), ("b", 7)]
    asked = ["model", "--device", "cpu", "--side", "3", "--variant"]
    assert commands[1:] == [[*asked, "a"], [*asked, "b"]]
    assert ", threads 1, in the rain\n" in capsys.readouterr().out


def test_it_says_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def failing(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Measured:
        return Measured(1, "", "Error: it broke\n", 2.0, 1)

    benchmark_ = Benchmark("decompose", "about", 10**18, ())
    assert benchmark_.main(["--work", str(tmp_path)], None, 0, failing) == 2
    assert "it broke" in capsys.readouterr().err
    assert benchmark_.main(["--work", str(tmp_path)], None, None, failing) == 2
    assert "are free there" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_textbook_solver_minimises() -> None:
    weight = filters((12, 12, 3, 3), torch.device("cpu"))
    rows = weight.view(-1, 9)
    penalty = 0.05 * float(rows.std())
    first, later = (textbook.solve(rows, 9, penalty, 0.0, seconds) for seconds in (0.0, 0.3))
    assert first.turns == textbook.LOOK_EVERY < later.turns
    assert later.objective < first.objective
    assert not later.reached
    reached = textbook.solve(rows, 9, penalty, first.objective, 60.0)
    assert reached.reached
    assert reached.objective == first.objective
