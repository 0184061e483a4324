"""How good the answers of a classifier are."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ClassScore:
    """One class: how many images it has, and how many of them were known."""

    name: str
    images: int
    correct: int

    @property
    def accuracy(self) -> float:
        """Share of its images that were known; 0 without any."""
        return self.correct / self.images if self.images else 0.0


@dataclass(frozen=True)
class Scores:
    """What answers came to.

    Attributes:
        accuracy: share of the images whose most probable class is theirs; standard_error: of it, √(p·(1 − p)/n).
        mean_per_class: the mean of the classes' accuracies, those without images left out.
        confusion: [true][answered], numbers of images.
    """

    images: int
    accuracy: float
    standard_error: float
    mean_per_class: float
    per_class: list[ClassScore]
    confusion: list[list[int]]


def score(logits: Tensor, labels: Sequence[int], classes: Sequence[str]) -> Scores:
    """Scores of logits (n, classes) under the true classes (n). Raises ValueError without images."""
    if not len(labels):
        raise ValueError("there are no images to score")
    true, count = torch.tensor(list(labels)), len(classes)
    table = torch.bincount(true * count + logits.argmax(1), minlength=count * count).view(count, count)
    per_class = [
        ClassScore(name, int(row.sum()), int(row[number]))
        for number, (name, row) in enumerate(zip(classes, table, strict=True))
    ]
    accuracy = float(table.diagonal().sum()) / len(labels)
    seen = [one.accuracy for one in per_class if one.images]
    return Scores(
        images=len(labels),
        accuracy=accuracy,
        standard_error=(accuracy * (1 - accuracy) / len(labels)) ** 0.5,
        mean_per_class=sum(seen) / len(seen),
        per_class=per_class,
        confusion=table.tolist(),
    )
