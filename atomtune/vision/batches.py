"""Batches of labelled images; what a step sees follows from the seed and the step alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..runtime.seeds import derived_generator, derived_seed
from .folders import LabelledImages, read_image
from .transforms import Transform, own_randomness

Place = tuple[int, int, int]
"""A step, a place in its batch, and the number of the image there."""


@dataclass(frozen=True)
class Batches:
    """The batches of a run: every epoch in an order of its own, its last batch perhaps smaller.

    Attributes:
        least: pixels that both sides of an image keep when it is decoded.
        workers: processes that read images; the batches are the same with any number.
    """

    images: LabelledImages
    transform: Transform
    size: int
    seed: int
    least: int
    workers: int = 0

    @property
    def in_epoch(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.images) // self.size)

    def indices(self, step: int) -> list[int]:
        """The numbers of the images of a step, from 0."""
        epoch, place = divmod(step, self.in_epoch)
        order = torch.randperm(len(self.images), generator=derived_generator(self.seed, "epoch", epoch))
        return order[place * self.size : (place + 1) * self.size].tolist()

    def between(self, first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (n, 3, side, side) and labels (n) of the steps from `first` on, before `last`."""
        places = ([(step, i, n) for i, n in enumerate(self.indices(step))] for step in range(first, last))
        if self.workers == 0:
            yield from map(self._batch, places)
            return
        from torch.utils.data import DataLoader

        yield from DataLoader(_Steps(self, first, last), batch_size=None, num_workers=self.workers)

    def _batch(self, places: Sequence[Place]) -> tuple[Tensor, Tensor]:
        seen = []
        for step, place, number in places:
            image = read_image(self.images.paths[number], self.least)
            with own_randomness(derived_seed(self.seed, "augment", step, place)):
                seen.append(self.transform(image))
        return torch.stack(seen), torch.tensor([self.images.labels[number] for _, _, number in places])


class _Steps(torch.utils.data.Dataset[Any]):
    """Steps as a data set, for processes that read them."""

    def __init__(self, batches: Batches, first: int, last: int) -> None:
        self.batches, self.first, self.last = batches, first, last

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        step = self.first + number
        return self.batches._batch([(step, i, n) for i, n in enumerate(self.batches.indices(step))])


def in_order(
    paths: Sequence[Path], transform: Transform, size: int, least: int
) -> Iterator[tuple[Sequence[Path], Tensor]]:
    """Images for scoring, batch by batch, in their order."""
    for first in range(0, len(paths), size):
        some = paths[first : first + size]
        yield some, torch.stack([transform(read_image(path, least)) for path in some])
