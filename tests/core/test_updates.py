"""The two forms of ΔW beside each other: sums, gradients, scales, and tiles that all meet one matrix."""

import pytest
import torch
from torch import Tensor

from atomtune.core.gemm import Convolution, Linear, Operation
from atomtune.core.layout import RowLayout
from atomtune.core.updates import AtomUpdate, MatrixUpdate, Update

SHAPES: dict[str, tuple[int, ...]] = {
    "linear": (12, 8),
    "1x1": (12, 8, 1, 1),
    "3x3": (6, 4, 3, 3),
    "3x3 in blocks": (6, 4, 3, 3),
}
OPERATIONS: dict[str, Operation] = {
    "linear": Linear(),
    "1x1": Convolution((1, 1), (0, 0), (1, 1), 1),
    "3x3": Convolution((1, 1), (1, 1), (1, 1), 1),
    "3x3 in blocks": Convolution((1, 1), (1, 1), (1, 1), 1),
}
M = 5


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def updates_of(kind: str) -> dict[str, Update]:
    layout = RowLayout.of(SHAPES[kind], 4, block=2 if kind.endswith("blocks") else 1)
    r, channels = layout.length, SHAPES[kind][1]
    alpha = layout.by_place(normal(layout.count, M))
    extra = layout.by_place(normal(layout.count, M, seed=1))
    found: dict[str, Update] = {
        "atoms": AtomUpdate(layout, (normal(M, r, seed=2), None), alpha, normal(M, r, seed=3)),
        "atoms and coefficients": AtomUpdate(layout, (normal(M, r, seed=2), extra), alpha, normal(M, r, seed=3)),
        "matrix": MatrixUpdate(layout, (normal(r, r, seed=2),)),
    }
    if layout.is_filter:
        by_channel = normal(channels, M, r, seed=2)
        found["atoms by channel"] = AtomUpdate(layout, (by_channel, None), alpha, normal(M, r, seed=3))
        found["matrix by channel"] = MatrixUpdate(layout, (normal(channels, r, r, seed=2),))
    return found


CASES = [(kind, form) for kind in SHAPES for form in updates_of(kind)]
each_case = pytest.mark.parametrize(("kind", "form"), CASES)


@each_case
def test_the_sum_and_the_scale(kind: str, form: str) -> None:
    update, weight = updates_of(kind)[form], normal(*SHAPES[kind], seed=9)
    delta = update.delta_weight(weight)
    assert delta.shape == weight.shape
    torch.testing.assert_close(update.added_to(weight), weight + delta)
    torch.testing.assert_close(update.scaled(0.25).delta_weight(weight), 0.25 * delta)
    assert update.scaled(1.0) is update


@each_case
def test_the_gradients_are_those_of_autograd(kind: str, form: str) -> None:
    update, weight = updates_of(kind)[form], normal(*SHAPES[kind], seed=9)
    grad_weight = normal(*SHAPES[kind], seed=8)
    leaves = [None if t is None else t.clone().requires_grad_() for t in update.trained]
    update.holding(*leaves).added_to(weight).backward(grad_weight)
    for leaf, found in zip(leaves, update.gradients(weight, grad_weight), strict=True):
        assert (leaf is None) == (found is None)
        if leaf is not None:
            torch.testing.assert_close(found, leaf.grad, rtol=1e-4, atol=1e-4)


def test_a_matrix_is_what_coefficients_that_follow_from_the_weight_make_of_a_change() -> None:
    weight = normal(*SHAPES["3x3"], seed=9)
    layout = RowLayout.of(weight.shape, 4)
    linear, change = normal(9, M), normal(M, 9, seed=2)
    alpha = layout.by_place(layout.to_rows(weight) @ linear)
    atoms = AtomUpdate(layout, (change, None), alpha, torch.zeros(M, 9))
    matrix = MatrixUpdate(layout, (linear @ change,))
    torch.testing.assert_close(atoms.delta_weight(weight), matrix.delta_weight(weight), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", SHAPES)
def test_tiles_and_filters_meet_their_matrix_row_by_row(kind: str) -> None:
    weight = normal(*SHAPES[kind], seed=9)
    layout = RowLayout.of(weight.shape, 4)
    matrix = normal(layout.length, layout.length)
    expected = layout.to_weight(torch.stack([row @ matrix for row in layout.to_rows(weight)]))
    found = MatrixUpdate(layout, (matrix,)).delta_weight(weight)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["linear", "1x1"])
def test_tiles_with_a_matrix_always_make_their_weight(kind: str) -> None:
    shape = SHAPES[kind]
    x = normal(1, shape[1]) if kind == "linear" else normal(1, shape[1], 1, 1)
    update = updates_of(kind)["matrix"]
    assert update.needs_no_weight(OPERATIONS[kind], x, normal(*shape)) == (False, False)
