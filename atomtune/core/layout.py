"""Weights seen as rows: one per k×k filter, per block of filters, or per p×q tile of a linear map (paper, section 3).

Coefficients of rows are also seen *by place*, (c_out/p, m, c_in/q), where p = q = 1 for filters.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor


def largest_divisor(n: int, limit: int) -> int:
    """The largest divisor of `n` that is at most `limit`; 1 where `n` is prime and larger."""
    return max(d for d in range(1, min(n, limit) + 1) if n % d == 0)


@dataclass(frozen=True)
class RowLayout:
    """How the weight of one layer is cut into `count` rows of `length` numbers.

    A convolution with more than one tap, (c_out, c_in/groups, k_h, k_w), gives one row per filter. A linear layer or a
    1×1 convolution, (c_out, c_in[, 1, 1]), gives one row per tile of `tile` = (p, q) entries, which makes
    W = Σᵢ Aᵢ ⊗ Bᵢ with the atoms as the Bᵢ. A 1×1 convolution may also be seen as filters of a single tap.

    Filters may be taken together in blocks of p×q channels too, p·q·k_h·k_w numbers a row: the weight as a matrix
    (c_out, c_in/groups·k_h·k_w) is cut into tiles of p × q·k_h·k_w then, and `tile` is that.
    """

    shape: tuple[int, ...]
    tile: tuple[int, int] | None

    @classmethod
    def of(cls, shape: Sequence[int], tile_limit: int, *, pointwise_tiles: bool = True, block: int = 1) -> "RowLayout":
        """Choose the layout for a weight of this shape; tile sides are the largest divisors up to `tile_limit`.

        Without `pointwise_tiles` 1×1 convolutions are filters of one tap. With a `block`, a power of two, filters are
        taken together in blocks, whose sides are its greatest common divisors with the numbers of channels; those of
        filters of one tap the largest divisors up to it, so that `stored.stored_layout` can tell them by their length.

        Raises ValueError for a weight with fewer than two dimensions or an empty one.
        """
        shape = tuple(shape)
        if len(shape) < 2 or 0 in shape:
            raise ValueError(f"a weight of shape {shape} has no filters and no tiles")
        taps = math.prod(shape[2:])
        if taps > 1:
            sides = math.gcd(shape[0], block), math.gcd(shape[1], block)
            return cls(shape, None if sides == (1, 1) else (sides[0], sides[1] * taps))
        if len(shape) > 2 and not pointwise_tiles:
            if block == 1:
                return cls(shape, None)
            tile_limit = block
        return cls(shape, (largest_divisor(shape[0], tile_limit), largest_divisor(shape[1], tile_limit)))

    @property
    def is_filter(self) -> bool:
        """True where a row is a single filter, False where it is a tile or a block of filters."""
        return self.tile is None

    @property
    def channels(self) -> int:
        """Pairs of an output and an input channel that a row is of: 1 for filters, p·q for tiles and blocks."""
        return self.length // math.prod(self.shape[2:])

    @property
    def _width(self) -> int:
        return math.prod(self.shape[1:])

    @property
    def length(self) -> int:
        """Numbers in a row: k_h·k_w for filters, p·q for tiles, p·q·k_h·k_w for blocks."""
        return math.prod(self.shape[2:]) if self.tile is None else self.tile[0] * self.tile[1]

    @property
    def count(self) -> int:
        """Number of rows N."""
        return math.prod(self.shape) // self.length

    def to_rows(self, weight: Tensor) -> Tensor:
        """(weight shape) → (N, r)."""
        if tuple(weight.shape) != self.shape:
            raise ValueError(f"expected a weight of shape {self.shape}, got {tuple(weight.shape)}")
        if self.tile is None:
            return weight.reshape(self.count, self.length)
        p, q = self.tile
        tiles = weight.reshape(self.shape[0] // p, p, self._width // q, q)
        return tiles.transpose(1, 2).reshape(self.count, self.length)

    def to_weight(self, rows: Tensor) -> Tensor:
        """(N, r) → (weight shape)."""
        if self.tile is None:
            return rows.reshape(self.shape)
        p, q = self.tile
        tiles = rows.reshape(self.shape[0] // p, self._width // q, p, q)
        return tiles.transpose(1, 2).reshape(self.shape)

    def every(self, weight: Tensor, stride: int) -> Tensor:
        """Every `stride`-th row, (⌈N / stride⌉, r), without cutting the whole weight up."""
        if self.tile is None:
            return self.to_rows(weight)[::stride]
        p, q = self.tile
        across = self._width // q
        place = torch.arange(0, self.count, stride, device=weight.device)
        tiles = weight.reshape(self.shape[0] // p, p, across, q)
        return tiles[place // across, :, place % across].reshape(-1, self.length)

    def pieces(self, numbers: int) -> Iterator[tuple[Self, slice, slice]]:
        """Cut the weight across its first side into pieces of about `numbers` numbers, whole rows each.

        Gives the layout of each piece, its slice of the weight and its slice of the rows.
        """
        height = 1 if self.tile is None else self.tile[0]
        rows = self.count * height // self.shape[0]  # in a piece of this height
        times = max(1, numbers // (rows * self.length))
        for first in range(0, self.shape[0] // height, times):
            last = min(first + times, self.shape[0] // height)
            layout = replace(self, shape=((last - first) * height, *self.shape[1:]))
            yield layout, slice(first * height, last * height), slice(first * rows, last * rows)

    def by_place(self, rows: Tensor) -> Tensor:
        """Coefficients (N, m) by their place in the weight, (c_out/p, m, c_in/q): a view."""
        height = self.shape[0] // (1 if self.tile is None else self.tile[0])
        return rows.view(height, -1, rows.shape[1]).transpose(1, 2)

    def filters(self, weight: Tensor) -> Tensor:
        """A weight of filters as (c_out, r, c_in/groups), float32: a view where it is so in channels_last."""
        return weight.float().permute(0, 2, 3, 1).reshape(self.shape[0], self.length, self.shape[1])

    def from_filters(self, filters: Tensor) -> Tensor:
        """The way back from `filters`: a weight in channels_last, a view."""
        c_out, c_in, height, width = self.shape
        return filters.view(c_out, height, width, c_in).permute(0, 3, 1, 2)

    def tiles(self, weight: Tensor) -> Tensor:
        """A weight of tiles as (c_out/p, p, c_in/q, q), float32; of blocks, (c_out/p, p, c_in/q, q·k_h·k_w)."""
        assert self.tile is not None
        p, q = self.tile
        return weight.float().reshape(self.shape[0] // p, p, self._width // q, q)


def by_rows(by_place: Tensor) -> Tensor:
    """The way back from `RowLayout.by_place`: coefficients (N, m)."""
    return by_place.transpose(1, 2).reshape(-1, by_place.shape[1])
