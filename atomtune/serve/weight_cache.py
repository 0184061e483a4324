"""Adapted weights of sets of concepts, kept while they fit in a bound; the least recently used go first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

Merged: TypeAlias = list[tuple[Tensor, Tensor]]
"""Tensors of the model, each with the value it is to have."""


@dataclass
class CacheFigures:
    """What a cache did."""

    hits: int = 0
    misses: int = 0
    evicted: int = 0


class WeightCache:
    """Values of at most so many bytes. One that is being made takes its memory beside them."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.bytes = 0
        self.figures = CacheFigures()
        self._held: OrderedDict[Hashable, tuple[Merged, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Hashable, make: Callable[[], Merged]) -> Merged:
        """What is kept under this key, or made now; kept where it fits at all. Raises what `make` raises."""
        if key in self._held:
            self.figures.hits += 1
            self._held.move_to_end(key)
            return self._held[key][0]
        self.figures.misses += 1
        made = make()
        size = sum(value.nbytes for _, value in made)
        if size <= self.most:
            while self.bytes + size > self.most:
                _, (_, dropped) = self._held.popitem(last=False)
                self.bytes -= dropped
                self.figures.evicted += 1
            self._held[key] = made, size
            self.bytes += size
        return made
