"""What a classifier says of images without labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..runtime.progress import Events
from .classifier import Classifier
from .folders import find_all


@dataclass(frozen=True)
class Answer:
    """What one image was taken for; `probabilities` has the likeliest classes, the first first."""

    path: Path
    answer: str
    probability: float
    probabilities: dict[str, float]


def predict(classifier: Classifier, places: Sequence[Path], top: int = 5, events: Events | None = None) -> list[Answer]:
    """The answers for image files and the images in folders. Raises AtomtuneError where one cannot be read."""
    paths = find_all(places)
    shares = classifier.logits(paths, events).softmax(1)
    best = shares.topk(min(top, len(classifier.classes)), dim=1)
    found = []
    for path, values, numbers in zip(paths, best.values.tolist(), best.indices.tolist(), strict=True):
        named = {classifier.classes[number]: value for number, value in zip(numbers, values, strict=True)}
        found.append(Answer(path, next(iter(named)), values[0], named))
    return found
