"""`atomtune classify` on the command line."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from atomtune.vision.metrics import score

Command = Callable[..., Any]


def trained(cli: Command, classes: Path, weights: Path, *more: str) -> dict[str, Any]:
    given = ["--model", "timm:test_resnet", "--weights", weights, "--image-size", 32, "--epochs", 1, "--batch-size", 8]
    given = ["--name", "colours", "--images", classes, *given]
    answer = cli("classify", "train", *given, "--json", "-q", *more)
    assert answer.code == 0, answer.err
    return dict(json.loads(answer.out))


def test_a_classifier_is_trained_used_scored_and_looked_into(
    cli: Command, classes: Path, test_classes: Path, weights: Path
) -> None:
    result = trained(cli, classes, weights, "--method", "atoms:c1")
    assert result["atoms_file"] == "classifiers/colours/colours.safetensors"
    assert result["classes"] == ["blue", "green", "red"]

    answer = cli(
        "classify", "predict", "--name", "colours", test_classes / "red", classes / "blue" / "00.png", "--json"
    )
    answers = json.loads(answer.out)["images"]
    assert len(answers) == 4
    assert all(sum(one["probabilities"].values()) == pytest.approx(1.0, abs=1e-5) for one in answers)
    assert answers[0]["answer"] == max(answers[0]["probabilities"], key=answers[0]["probabilities"].get)

    answer = cli("classify", "evaluate", "--name", "colours", "--images", test_classes, "--json")
    scores = json.loads(answer.out)
    assert scores["images"] == 9
    assert sum(map(sum, scores["confusion"])) == 9
    folder = Path("classifiers/colours/evaluation")
    assert scores == {
        "report": f"{folder.as_posix()}/classify.html",
        **json.loads((folder / "scores.json").read_text()),
    }
    rows = list(csv.DictReader((folder / "predictions.csv").open()))
    assert sum(row["class"] == row["answer"] for row in rows) / 9 == pytest.approx(scores["accuracy"])
    assert "colours" in (folder / "classify.html").read_text(encoding="utf-8")

    answer = cli("classify", "explain", "--name", "colours", "--images", test_classes, "--num", 4, "--json")
    figures = json.loads(answer.out)
    assert [Path(one["path"]).parent.name for one in figures["images"]] == ["blue", "green", "red", "blue"]
    assert all(0.0 <= one["active"] <= 1.0 for one in figures["images"])
    assert Path(figures["report"]).read_text(encoding="utf-8").count("data:image/webp") == 12
    # what it wrote is replaced, what others wrote is not
    assert cli("classify", "explain", "--run", "classifiers/colours", "--images", test_classes, "--num", 1).code == 0
    Path("mine").mkdir()
    Path("mine/classify.html").write_text("mine")
    answer = cli("classify", "evaluate", "--name", "colours", "--images", test_classes, "--output", "mine")
    assert (answer.code, Path("mine/classify.html").read_text()) == (2, "mine")


def test_what_would_be_trained_is_counted_without_weights(cli: Command, classes: Path) -> None:
    given = ["--name", "a", "--images", classes, "--model", "timm:test_resnet", "--dry-run", "--json", "-q"]
    plan = json.loads(cli("classify", "train", *given, "--method", "bitfit").out)
    assert plan["trainable_parameters"] == sum(kind["parameters"] for kind in plan["kinds"]) + plan["head_parameters"]
    assert not Path("classifiers").exists()
    probe = json.loads(cli("classify", "train", *given, "--method", "linear-probe").out)
    assert (probe["trainable_parameters"], probe["kinds"]) == (probe["head_parameters"], [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "x.jpg"), "say which classifier"),
        (("evaluate", "--name", "nobody", "--images", "."), "there is no classifier in classifiers/nobody"),
        (("train", "--name", "a", "--images", ".", "--model", "timm:x", "--rank", "4"), "rank is not an option of"),
    ],
)
def test_mistakes_get_one_line_and_a_hint(cli: Command, arguments: tuple[str, ...], message: str) -> None:
    answer = cli("classify", *arguments)
    assert answer.code in (1, 2)
    assert message in answer.err
    assert answer.err.count("Hint:") == 1


def test_a_class_that_the_classifier_does_not_know_is_refused(
    cli: Command, classes: Path, weights: Path, tmp_path: Path
) -> None:
    trained(cli, classes, weights, "--method", "linear-probe")
    (tmp_path / "other" / "violet").mkdir(parents=True)
    (tmp_path / "other" / "violet" / "1.png").write_bytes((classes / "red" / "00.png").read_bytes())
    answer = cli("classify", "evaluate", "--name", "colours", "--images", tmp_path / "other")
    assert answer.code == 1
    assert "knows no class violet" in answer.err


def test_scores_count_what_was_answered() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.0, 3.0, 1.0], [0.0, 3.0, 1.0]])
    found = score(logits, [0, 2, 1, 2], ["a", "b", "c"])
    assert found.accuracy == 0.75
    assert found.confusion == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    assert [one.accuracy for one in found.per_class] == [1.0, 1.0, 0.5]
    assert found.mean_per_class == pytest.approx(2.5 / 3)
    assert found.standard_error == pytest.approx((0.75 * 0.25 / 4) ** 0.5)
