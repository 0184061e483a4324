"""A trained classifier, made again from its run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..api.loading import Loaded, load
from ..errors import AtomtuneError
from ..files.atoms_file import AtomsInfo, load_atoms
from ..models.base_model import pick_device
from ..runtime.progress import Events
from ..training.run_folder import RunFolder
from .batches import in_order
from .folders import read_image
from .network import Network, build, logits_of
from .options import CLASSIFIERS, ClassifyOptions, trained_classifiers
from .resume import found_again
from .train import TASK
from .transforms import Transform, evaluation_transform


@dataclass(frozen=True)
class Classifier:
    """A network with what was trained in it.

    Attributes:
        classes: names, by their number.
        loaded: the change, whose scale is 1 as trained and 0 for the base network under the trained head.
    """

    network: Network
    classes: tuple[str, ...]
    info: AtomsInfo
    loaded: Loaded
    transform: Transform
    device: torch.device
    batch_size: int

    @torch.no_grad()
    def logits(self, paths: Sequence[Path], events: Events | None = None) -> Tensor:
        """Scores (n, classes) of images, float32, on the CPU."""
        found = [
            logits_of(self.network.model, images.to(self.device)).float().cpu() for images in self._seen(paths, events)
        ]
        return torch.cat(found)

    def shown(self, path: Path) -> Tensor:
        """One image as the network sees it, (1, 3, side, side), on its device."""
        return self.transform(read_image(path, 2 * self.network.size)).unsqueeze(0).to(self.device)

    def _seen(self, paths: Sequence[Path], events: Events | None) -> Iterator[Tensor]:
        events = events or Events()
        events.begin("classify", -(-len(paths) // self.batch_size))
        for _, images in in_order(paths, self.transform, self.batch_size, 2 * self.network.size):
            yield images
            events.advance()
        events.end()


def load_classifier(
    name: str | None,
    folder: Path | None = None,
    *,
    weights: str | None = None,
    device: str | None = None,
    batch_size: int = 32,
    events: Events | None = None,
) -> Classifier:
    """The classifier of a run: its network with its weights, and the atoms file on top.

    Args:
        name: of a run in classifiers/; folder: of a run anywhere.
        weights: where the network's weights are now, if not where they were.

    Raises AtomtuneError where there is no such run, it did not end, or its network's weights are not there.
    """
    folder = folder or CLASSIFIERS / str(name)
    run = RunFolder(folder)
    if not run.record.is_file():
        there = trained_classifiers("")
        hint = f"trained: {', '.join(there)}" if there else "atomtune classify train makes one"
        raise AtomtuneError(f"there is no classifier in {folder}", hint)
    record = run.read_record()
    if record.get("task") != TASK:
        raise AtomtuneError(f"{folder} holds no classifier", "atomtune classify train makes one")
    if not run.atoms.is_file():
        raise AtomtuneError(
            f"the training in {folder} did not end", f"atomtune classify train --name {folder.name} --resume goes on"
        )
    options = found_again(ClassifyOptions.from_dict(record.get("options", {})), folder, record)
    _, info, _ = load_atoms(run.atoms)
    classes = _classes(info, run.atoms)
    (events or Events()).phase(f"loading {options.model}")
    network = build(
        options.model,
        len(classes),
        weights=weights or options.weights,
        size=options.image_size,
        seed=options.seed,
    )
    loaded = load(network.model, run.atoms)
    where = pick_device(device)
    network.model.to(where).requires_grad_(False)
    return Classifier(network, classes, info, loaded, evaluation_transform(network), where, batch_size)


def _classes(info: AtomsInfo, path: Path) -> tuple[str, ...]:
    found: Any = info.training.get("classes")
    if not isinstance(found, list) or not found or not all(isinstance(name, str) for name in found):
        raise AtomtuneError(f"{path} names no classes", "atomtune classify train writes such files")
    return tuple(found)
