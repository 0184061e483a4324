"""Rows and weights: nothing lost, nothing moved, and tiles mean what the Kronecker product says."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atomtune.core.layout import RowLayout, largest_divisor

SHAPES = {
    "linear": (24, 18),
    "linear, prime sides": (13, 7),
    "linear, one output": (1, 12),
    "conv 1x1": (12, 8, 1, 1),
    "conv 1x1, prime sides": (17, 5, 1, 1),
    "conv 3x3": (8, 6, 3, 3),
    "conv 1x3": (8, 6, 1, 3),
    "conv 3x1": (5, 7, 3, 1),
    "conv 3x3, depthwise": (8, 1, 3, 3),
    "conv 1x1, grouped": (12, 2, 1, 1),
}


def numbered(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.arange(math.prod(shape), dtype=torch.float32).view(shape)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("limit", [1, 4, 16, 64])
def test_round_trip(shape: tuple[int, ...], limit: int) -> None:
    layout, weight = RowLayout.of(shape, limit), numbered(shape)
    rows = layout.to_rows(weight)
    assert rows.shape == (layout.count, layout.length)
    assert torch.equal(layout.to_weight(rows), weight)
    assert layout.is_filter == (math.prod(shape[2:]) > 1)


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([(), (1, 1), (3, 3), (1, 3), (2, 1)]),
    st.integers(1, 20),
)
@settings(max_examples=40, deadline=None)
def test_any_shape_and_limit(c_out: int, c_in: int, kernel: tuple[int, ...], limit: int) -> None:
    shape = (c_out, c_in, *kernel)
    layout, weight = RowLayout.of(shape, limit), numbered(shape)
    assert torch.equal(layout.to_weight(layout.to_rows(weight)), weight)
    if layout.tile is not None:
        for side, size in zip(layout.tile, shape[:2], strict=True):
            assert side <= limit
            assert size % side == 0
            assert not any(size % larger == 0 for larger in range(side + 1, min(limit, size) + 1))


def test_filters_are_rows_in_the_order_of_the_weight() -> None:
    weight = numbered((4, 3, 3, 3))
    rows = RowLayout.of(weight.shape, 16).to_rows(weight)
    for out in range(4):
        for channel in range(3):
            assert torch.equal(rows[out * 3 + channel], weight[out, channel].flatten())


@pytest.mark.parametrize("shape", [(12, 8), (12, 8, 1, 1), (13, 8), (1, 6)])
def test_tiles_are_a_sum_of_kronecker_products(shape: tuple[int, ...]) -> None:
    """W = Σᵢ Aᵢ ⊗ Bᵢ, where the coefficients of atom i, laid out as the grid of tiles, are Aᵢ."""
    layout = RowLayout.of(shape, 4)
    assert layout.tile is not None
    p, q = layout.tile
    generator = torch.Generator().manual_seed(1)
    atoms = torch.randn(5, p * q, generator=generator, dtype=torch.float64)
    coefficients = torch.randn(layout.count, 5, generator=generator, dtype=torch.float64)
    grid = coefficients.T.reshape(5, shape[0] // p, shape[1] // q)
    expected = sum(torch.kron(a, b.view(p, q)) for a, b in zip(grid, atoms, strict=True))
    assert isinstance(expected, torch.Tensor)
    torch.testing.assert_close(layout.to_weight(coefficients @ atoms), expected.view(shape), rtol=0, atol=1e-12)


def test_pointwise_convolutions_may_be_filters_of_one_tap() -> None:
    layout = RowLayout.of((6, 4, 1, 1), 4, pointwise_tiles=False)
    assert (layout.is_filter, layout.length, layout.count) == (True, 1, 24)
    assert not RowLayout.of((6, 4), 4, pointwise_tiles=False).is_filter
    weight = numbered((6, 4, 1, 1))
    assert torch.equal(layout.to_weight(layout.to_rows(weight)), weight)
    assert torch.equal(layout.from_filters(layout.filters(weight)), weight)


BLOCKS = {
    # shape, side asked for → tile of the unfolded weight
    "3x3": ((8, 12, 3, 3), 4, (4, 36)),
    "the stem of a ResNet": ((64, 3, 7, 7), 4, (4, 49)),
    "sides of other numbers": ((6, 4, 3, 3), 8, (2, 36)),
    "one tap": ((12, 6, 1, 1), 4, (4, 3)),
    "no side divides": ((5, 3, 3, 3), 2, None),
}


@pytest.mark.parametrize(("shape", "block", "tile"), BLOCKS.values(), ids=BLOCKS.keys())
def test_filters_are_taken_together_in_blocks(shape: tuple[int, ...], block: int, tile: tuple[int, int] | None) -> None:
    layout, weight = RowLayout.of(shape, 16, pointwise_tiles=False, block=block), numbered(shape)
    assert layout.tile == tile
    if tile is None:
        assert layout == RowLayout.of(shape, 16)
        return
    p, q = tile[0], tile[1] // math.prod(shape[2:])
    rows = layout.to_rows(weight)
    assert rows.shape == (layout.count, layout.length)
    assert (layout.length, layout.channels) == (p * q * math.prod(shape[2:]), p * q)
    for place, row in enumerate(rows):
        out, into = divmod(place, shape[1] // q)
        assert torch.equal(row, weight[out * p : (out + 1) * p, into * q : (into + 1) * q].flatten())
    assert torch.equal(layout.to_weight(rows), weight)
    assert torch.equal(layout.tiles(weight).transpose(1, 2).reshape(rows.shape), rows)
    for stride in (1, 3, 1000):
        assert torch.equal(layout.every(weight, stride), rows[::stride])
    pieces = [piece.to_rows(weight[cut]) for piece, cut, _ in layout.pieces(100)]
    assert torch.equal(torch.cat(pieces), rows)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("stride", [1, 2, 5, 1000])
def test_every_so_manyth_row(shape: tuple[int, ...], stride: int) -> None:
    layout, weight = RowLayout.of(shape, 4), numbered(shape)
    assert torch.equal(layout.every(weight, stride), layout.to_rows(weight)[::stride])


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("numbers", [1, 40, 100, 10**9])
def test_pieces_are_the_whole(shape: tuple[int, ...], numbers: int) -> None:
    layout, weight = RowLayout.of(shape, 4), numbered(shape)
    found = [(piece, rows, piece.to_rows(weight[cut])) for piece, cut, rows in layout.pieces(numbers)]
    assert torch.equal(torch.cat([part for *_, part in found]), layout.to_rows(weight))
    ends = [0, *(rows.stop for _, rows, _ in found)]
    assert [(rows.start, rows.stop - rows.start) for _, rows, _ in found] == [
        (begin, piece.count) for begin, (piece, _, _) in zip(ends, found, strict=False)
    ]
    smallest = layout.count * layout.length * (layout.tile[0] if layout.tile else 1) // shape[0]
    assert all(len(part) * layout.length <= max(numbers, smallest) for *_, part in found)
    assert len(found) == 1 or numbers < weight.numel()


def test_memory_format_does_not_matter() -> None:
    weight = torch.randn(8, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    layout = RowLayout.of(weight.shape, 4)
    other = weight.to(memory_format=torch.channels_last)
    assert torch.equal(layout.to_rows(other), layout.to_rows(weight))
    assert torch.equal(layout.every(other, 5), layout.every(weight, 5))
    for piece, cut, rows in layout.pieces(100):
        assert torch.equal(piece.to_rows(other[cut]), layout.to_rows(weight)[rows])


def test_gradients_flow_through_both_ways() -> None:
    layout = RowLayout.of((6, 8), 4)
    rows = torch.randn(layout.count, layout.length, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layout.to_rows(layout.to_weight(x)), (rows,))


@pytest.mark.parametrize(
    ("n", "limit", "expected"), [(320, 16, 16), (768, 16, 16), (17, 16, 1), (18, 4, 3), (3, 16, 3)]
)
def test_largest_divisor(n: int, limit: int, expected: int) -> None:
    assert largest_divisor(n, limit) == expected


@pytest.mark.parametrize("shape", [(), (5,), (0, 4), (4, 0, 3, 3)])
def test_weights_without_rows_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no filters and no tiles"):
        RowLayout.of(shape, 4)


def test_a_weight_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a weight of shape"):
        RowLayout.of((8, 6, 3, 3), 4).to_rows(torch.zeros(6, 8, 3, 3))
