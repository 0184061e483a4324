"""Batches of images of several shapes: every step has one of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeAlias

import torch

from ..runtime.seeds import derived_generator, derived_seed
from .data import Batch, Batches


@dataclass(frozen=True)
class ShapeOrder:
    """Which shape each step has, by the seed and the number of the step alone.

    Within as many steps as there are images every shape has its turn as often as there are images of it, so that all
    images are seen equally often; the order differs each time.

    Attributes:
        counts: images of each shape, each as often as it is shown.
    """

    counts: tuple[int, ...]
    seed: int

    def at(self, step: int) -> tuple[int, int]:
        """The number of a step's shape, and how many steps had it before."""
        cycle, turn = divmod(step, sum(self.counts))
        shapes = torch.repeat_interleave(torch.tensor(self.counts))
        order = shapes[torch.randperm(len(shapes), generator=derived_generator(self.seed, "shapes", cycle))]
        shape = int(order[turn])
        return shape, cycle * self.counts[shape] + int((order[:turn] == shape).sum())


@dataclass(frozen=True)
class ShapedBatches:
    """Draws batches as `Batches` does, each from the images of one shape.

    Attributes:
        groups: of each shape, with seeds of their own.
    """

    order: ShapeOrder
    groups: tuple[Batches, ...]
    seed: int

    @classmethod
    def of(cls, order: ShapeOrder, groups: Sequence[Batches], seed: int) -> Self:
        """The batches of some shapes; the seeds of `groups` do not count."""
        own = (replace(group, seed=derived_seed(seed, "shape", number)) for number, group in enumerate(groups))
        return cls(order, tuple(own), seed)

    @property
    def size(self) -> int:
        """Examples in a step on all processes together."""
        return self.groups[0].size

    def draw(self, step: int, first: int = 0, count: int | None = None) -> Batch:
        """See `Batches.draw`."""
        shape, turn = self.order.at(step)
        return self.groups[shape].draw(turn, first, count)

    def changed(self, **changes: Any) -> Self:
        """With other fields of `Batches`; the shapes of steps stay."""
        seed = changes.pop("seed", self.seed)
        return self.of(self.order, [replace(group, **changes) for group in self.groups], seed)


AnyBatches: TypeAlias = Batches | ShapedBatches
