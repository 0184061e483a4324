"""Score a classifier on labelled images: figures, one page, a row an image."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import __version__
from ..files.atomic import write_text
from ..files.output_folder import check_replaceable, claim
from ..report.csv_text import csv_text
from ..report.html import render_page
from ..runtime.progress import Events
from .classifier import Classifier
from .folders import LabelledImages, read_classes, read_image
from .metrics import Scores, score

FILES = ("classify.html", "predictions.csv", "scores.json")
PAGE, PREDICTIONS, SCORES = FILES

_MISTAKES = 12  # shown, the most confident first
_SHOWN_CLASSES = 40  # in the table of confusions; a larger one is in scores.json
_THUMBNAIL = 128


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation came to; `figures` is what scores.json and --json hold."""

    report: Path
    scores: Scores
    figures: dict[str, Any]


def evaluate(classifier: Classifier, folder: Path, output: Path, events: Events | None = None) -> Evaluated:
    """Score a classifier on a folder of folders, and write `FILES` into `output`.

    Raises UsageError where that would replace what atomtune did not write, AtomtuneError as `read_classes`.
    """
    events = events or Events()
    check_replaceable(output, FILES)
    images = read_classes(folder, events, classifier.classes)
    logits = classifier.logits(images.paths, events)
    scores = score(logits, images.labels, classifier.classes)
    figures = {
        "name": classifier.info.concept,
        "method": classifier.info.method,
        "preset": classifier.info.preset,
        "model": classifier.info.base,
        "parameters": classifier.info.parameters,
        "classes": list(classifier.classes),
        **asdict(scores),
        "per_class": [asdict(one) | {"accuracy": one.accuracy} for one in scores.per_class],
    }
    claim(output, FILES)
    write_text(output / SCORES, json.dumps(figures, indent=2) + "\n")
    write_text(output / PREDICTIONS, csv_text(_rows(classifier, images, logits, folder), ["file"]))
    values = page_values(classifier, images, logits, scores)
    write_text(output / PAGE, render_page("classify.html", **values))
    return Evaluated(output / PAGE, scores, figures)


def _rows(classifier: Classifier, images: LabelledImages, logits: Tensor, folder: Path) -> list[dict[str, Any]]:
    shares = logits.softmax(1)
    best = shares.max(1)
    return [
        {
            "file": path.relative_to(folder).as_posix(),
            "class": classifier.classes[label],
            "answer": classifier.classes[int(best.indices[number])],
            "probability": round(float(best.values[number]), 6),
        }
        for number, (path, label) in enumerate(zip(images.paths, images.labels, strict=True))
    ]


def page_values(classifier: Classifier, images: LabelledImages, logits: Tensor, scores: Scores) -> dict[str, Any]:
    """What the page shows."""
    shares = logits.softmax(1)
    sure, answers = shares.max(1)
    wrong = [number for number, label in enumerate(images.labels) if int(answers[number]) != label]
    worst = sorted(wrong, key=lambda number: -float(sure[number]))[:_MISTAKES]
    mistakes = []
    for number in worst:
        image = read_image(images.paths[number], _THUMBNAIL)
        image.thumbnail((_THUMBNAIL, _THUMBNAIL))
        mistakes.append(
            {
                "image": image,
                "true": classifier.classes[images.labels[number]],
                "answer": classifier.classes[int(answers[number])],
                "probability": float(sure[number]),
            }
        )
    return {
        "info": classifier.info,
        "scores": scores,
        "confusion": scores.confusion if len(classifier.classes) <= _SHOWN_CLASSES else [],
        "classes": classifier.classes,
        "mistakes": mistakes,
        "wrong": len(wrong),
        "version": __version__,
    }
