"""Where a classifier looks, before and after it was tuned: a page of Grad-CAM maps."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from .. import __version__
from ..errors import AtomtuneError
from ..files.atomic import write_text
from ..files.output_folder import check_replaceable, claim
from ..report.html import render_page
from ..runtime.progress import Events
from .classifier import Classifier
from .folders import find_all, read_classes
from .grad_cam import ACTIVE, active_share, default_layer, grad_cam, named_layer, prefix_tokens

FILES = ("explain.html", "explain.json")
PAGE, FIGURES = FILES


@dataclass(frozen=True)
class Explained:
    """One image.

    Attributes:
        target: the class that the maps are of: its own where it is known, else the tuned classifier's answer.
        base_answer, answer: of the base network under the trained head, and of the tuned one.
        base_active, active: shares of the area that are active.
    """

    path: Path
    target: str
    base_answer: str
    answer: str
    base_active: float
    active: float
    image: Image.Image
    base_map: Image.Image
    map: Image.Image

    def figures(self) -> dict[str, Any]:
        """For JSON."""
        names = ("path", "target", "base_answer", "answer", "base_active", "active")
        return {name: getattr(self, name) for name in names}


def explain(
    classifier: Classifier,
    places: Path,
    output: Path,
    *,
    number: int = 5,
    layer: str | None = None,
    events: Events | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Write a page with the maps of some images, the base network's beside the tuned one's; returns it and its figures.

    Args:
        places: a folder of images, or of folders of classes, of which images are taken in turn.
        number: of images.
        layer: whose maps are shown; see `default_layer`.

    Raises UsageError where files of others would be replaced or there is no such layer, AtomtuneError without images.
    """
    events = events or Events()
    check_replaceable(output, FILES)
    chosen = _chosen(classifier, places, number, events)
    first = classifier.shown(chosen[0][0])
    name, looked_at = (
        (layer, named_layer(classifier.network, layer)) if layer else default_layer(classifier.network, first)
    )
    shown = []
    events.begin("explain", len(chosen))
    for path, label in chosen:
        shown.append(_explained(classifier, path, label, looked_at))
        events.advance()
    events.end()
    count = len(shown)
    figures = {
        "name": classifier.info.concept,
        "layer": name,
        "threshold": ACTIVE,
        "base_active": sum(one.base_active for one in shown) / count,
        "active": sum(one.active for one in shown) / count,
        "images": [one.figures() | {"path": one.path.as_posix()} for one in shown],
    }
    claim(output, FILES)
    public = {**figures, "images": [one.figures() | {"path": one.path.name} for one in shown]}
    write_text(output / FIGURES, json.dumps(public, indent=2) + "\n")
    values = {"info": classifier.info, "figures": figures, "shown": shown, "version": __version__}
    write_text(output / PAGE, render_page("explain.html", **values))
    return output / PAGE, figures


def _chosen(classifier: Classifier, places: Path, number: int, events: Events) -> list[tuple[Path, int | None]]:
    """Images with the numbers of their classes, one class after the other; None where there are no classes."""
    if not (places.is_dir() and any(path.is_dir() for path in places.iterdir())):
        return [(path, None) for path in find_all([places])[:number]]
    images = read_classes(places, events, classifier.classes)
    by_class: dict[int, list[Path]] = {}
    for path, label in zip(images.paths, images.labels, strict=True):
        by_class.setdefault(label, []).append(path)
    turns = max(map(len, by_class.values()))
    in_turn = [(paths[turn], label) for turn in range(turns) for label, paths in by_class.items() if turn < len(paths)]
    if not in_turn:
        raise AtomtuneError(f"there are no images in {places}", "name a folder of images")
    return list(in_turn[:number])


def _explained(classifier: Classifier, path: Path, label: int | None, layer: torch.nn.Module) -> Explained:
    image = classifier.shown(path)
    model, prefix = classifier.network.model, prefix_tokens(classifier.network)
    with torch.no_grad():
        answer = int(model(image)[0].argmax())
    target = answer if label is None else label
    tuned = grad_cam(model, layer, image, target, prefix)
    classifier.loaded.scale = 0.0
    try:
        with torch.no_grad():
            base_answer = int(model(image)[0].argmax())
        base = grad_cam(model, layer, image, target, prefix)
    finally:
        classifier.loaded.scale = 1.0
    seen = _picture(classifier, image)
    return Explained(
        path,
        classifier.classes[target],
        classifier.classes[base_answer],
        classifier.classes[answer],
        active_share(base),
        active_share(tuned),
        seen,
        over(seen, base),
        over(seen, tuned),
    )


def _picture(classifier: Classifier, image: Tensor) -> Image.Image:
    """An image as the network sees it, in colours."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (classifier.network.mean, classifier.network.std))
    pixels = (image[0].cpu() * std + mean).clamp(0, 1)
    return Image.fromarray((pixels * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())


def over(image: Image.Image, found: Tensor) -> Image.Image:
    """A map over its image: grey where it is 0, then blue, yellow and red."""
    stops = torch.tensor([[0.15, 0.2, 0.6], [0.1, 0.7, 0.8], [0.95, 0.85, 0.2], [0.85, 0.1, 0.1]])
    place = found.clamp(0, 1) * (len(stops) - 1)
    low = place.floor().long().clamp(max=len(stops) - 2)
    share = (place - low).unsqueeze(-1)
    colours = stops[low] * (1 - share) + stops[low + 1] * share
    layer = Image.fromarray((colours * 255).round().to(torch.uint8).numpy())
    return Image.blend(image.convert("L").convert("RGB"), layer, 0.5)
