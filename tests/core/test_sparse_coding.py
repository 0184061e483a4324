"""Sparse coding against float64, its optimality conditions and closed forms; dictionaries against what they improve."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from atomtune.core.sparse_coding import (
    ENCODE_ITERATIONS,
    Coder,
    improve_atoms,
    learn_atoms,
    principal_directions,
    sample_stride,
    shrink,
)


def encode(rows: Tensor, atoms: Tensor, penalty: float, iterations: int = ENCODE_ITERATIONS) -> Tensor:
    """Coefficients (N, m) of rows (N, r)."""
    return Coder(atoms, penalty, iterations).codes(rows.T).T


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(atoms: Tensor) -> Tensor:
    return atoms / atoms.norm(dim=1, keepdim=True)


def correlated(count: int, length: int, seed: int = 0) -> Tensor:
    """Rows with a spectrum that falls off, as filters have."""
    return (
        draw(count, length, seed=seed) @ torch.diag(0.8 ** torch.arange(length)) @ draw(length, length, seed=seed + 1)
    )


def filters(count: int, length: int, seed: int = 0) -> Tensor:
    """Rows whose spectrum falls off by 0.4, about as that of the filters of `pocket`."""
    fall = 0.4 ** (torch.arange(length) / length)
    return draw(count, length, seed=seed) * fall @ torch.linalg.qr(draw(length, length, seed=seed + 1))[0]


def objective(rows: Tensor, atoms: Tensor, coefficients: Tensor, penalty: float) -> float:
    residual = rows.double() - coefficients.double() @ atoms.double()
    return float(0.5 * residual.square().sum() + penalty * coefficients.double().abs().sum())


def reference(rows: Tensor, atoms: Tensor, penalty: float, iterations: int = 4000) -> Tensor:
    """Plain ISTA in float64 from zero: slow, and shares nothing with the code under test."""
    x, d = rows.double(), atoms.double()
    step = 1.0 / float(torch.linalg.matrix_norm(d, 2)) ** 2
    a = torch.zeros(x.shape[0], d.shape[0], dtype=torch.float64)
    for _ in range(iterations):
        z = a - step * (a @ d - x) @ d.T
        a = z.sign() * (z.abs() - step * penalty).clamp_min(0.0)
    return a


def kkt_violation(rows: Tensor, atoms: Tensor, coefficients: Tensor, penalty: float) -> float:
    """How far from optimal: |g| ≤ λ where α = 0 and g = −λ·sign(α) elsewhere, g the gradient of ½‖X − αD‖²."""
    a, d = coefficients.double(), atoms.double()
    gradient = (a @ d - rows.double()) @ d.T
    at_zero = (gradient.abs() - penalty).clamp_min(0.0)
    elsewhere = (gradient + penalty * a.sign()).abs()
    return float(torch.where(a == 0, at_zero, elsewhere).max())


@pytest.mark.parametrize(("m", "r"), [(1, 9), (4, 9), (9, 9), (14, 9), (9, 64), (3, 1)])
@pytest.mark.parametrize("penalty", [0.0, 0.05, 0.5])
def test_encode_reaches_the_optimum(m: int, r: int, penalty: float) -> None:
    rows, atoms = draw(60, r, seed=1), unit(torch.eye(m, r) + 0.3 * draw(m, r, seed=2))
    found, expected = encode(rows, atoms, penalty, 2000), reference(rows, atoms, penalty)
    assert kkt_violation(rows, atoms, found, penalty) < 2e-5
    assert objective(rows, atoms, found, penalty) <= objective(rows, atoms, expected, penalty) + 1e-4
    if m <= r:  # with more atoms than dimensions the minimiser is nearly flat in α
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("m", [3, 6, 9, 14])
@pytest.mark.parametrize("sparsity", [0.02, 0.05, 0.2])
def test_encode_over_learned_atoms_is_near_the_optimum_in_its_default_iterations(m: int, sparsity: float) -> None:
    rows = correlated(500, 9)
    penalty = sparsity * float(rows.std())
    atoms = learn_atoms(rows, m, penalty).half().float()
    best = objective(rows, atoms, encode(rows, atoms, penalty, 5000), penalty)
    assert objective(rows, atoms, encode(rows, atoms, penalty), penalty) < best * (1.001 if m <= 9 else 1.1)


@pytest.mark.parametrize(("m", "r"), [(1, 9), (4, 9), (9, 9), (9, 64), (16, 256)])
@pytest.mark.parametrize("sparsity", [0.0, 0.05, 0.3])
def test_few_iterations_over_learned_atoms_are_the_minimiser_to_float32_rounding(
    m: int, r: int, sparsity: float
) -> None:
    rows = filters(1000, r)
    penalty = sparsity * float(rows.std())
    atoms = learn_atoms(rows, m, penalty).half().float()
    coder = Coder(atoms, penalty)
    assert coder.contracts
    assert coder.iterations <= 10
    found, expected = encode(rows, atoms, penalty).double(), reference(rows, atoms, penalty, 400)
    assert float((found - expected).norm() / expected.norm()) < 1e-6


@given(st.floats(0.0, 0.5), st.integers(2, 9), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_as_many_iterations_as_the_atoms_need(tilt: float, m: int, seed: int) -> None:
    rows, atoms = draw(40, 9, seed=seed), unit(torch.eye(m, 9) + tilt * draw(m, 9, seed=seed + 1))
    coder = Coder(atoms, 0.1)
    assert coder.iterations <= ENCODE_ITERATIONS
    if not coder.contracts:
        assert coder.iterations == ENCODE_ITERATIONS
        return
    expected = reference(rows, atoms, 0.1)
    found = encode(rows, atoms, 0.1).double()
    assert float((found - expected).norm()) < 3e-6 * float(expected.norm())


@pytest.mark.parametrize("case", ["more than r", "equal", "zero"])
def test_atoms_that_are_dependent_get_all_iterations(case: str) -> None:
    atoms = {"more than r": unit(draw(12, 9)), "equal": unit(draw(1, 9)).repeat(2, 1), "zero": torch.zeros(2, 9)}[case]
    for iterations in (7, ENCODE_ITERATIONS):
        coder = Coder(atoms, 0.1, iterations)
        assert (coder.contracts, coder.iterations) == (False, iterations)


@pytest.mark.parametrize(("m", "tolerance"), [(6, 1e-6), (9, 1e-6), (14, 2e-4)])
def test_coefficients_mean_what_they_did_in_files_written_before(m: int, tolerance: float) -> None:
    """At first they were 30 steps of FISTA from the ridge solution, whatever the atoms: the same to rounding."""
    rows = correlated(2000, 9)
    penalty = 0.05 * float(rows.std())
    atoms = learn_atoms(rows, m, penalty).half().float()
    gram = atoms @ atoms.T
    step = 1.0 / float(torch.linalg.matrix_norm(gram, 2))
    ridge = torch.linalg.inv((gram + 1e-3 * gram.diagonal().mean() * torch.eye(m)).double()).float()
    current = rows @ (atoms.T @ ridge)
    ahead, t = current, 1.0
    for _ in range(30):
        following = shrink(ahead - step * (ahead @ gram - rows @ atoms.T), step * penalty)
        t, before = (1.0 + (1.0 + 4.0 * t * t) ** 0.5) / 2.0, t
        ahead, current = torch.lerp(current, following, 1.0 + (before - 1.0) / t), following
    found = encode(rows, atoms, penalty)
    # half a unit of float16 is 2.4e-4 on average; more than r atoms make the float32 rounding of their Gram matrix show
    assert float((found - current).norm() / current.norm()) < tolerance


@given(st.integers(1, 9), st.integers(1, 30), st.floats(0.0, 2.0))
@settings(max_examples=25, deadline=None)
def test_orthonormal_atoms_have_a_closed_form(m: int, count: int, penalty: float) -> None:
    atoms = torch.linalg.qr(draw(9, 9, seed=5).double())[0][:m].float()
    rows = draw(count, 9, seed=6)
    expected = (rows @ atoms.T).sign() * ((rows @ atoms.T).abs() - penalty).clamp_min(0.0)
    torch.testing.assert_close(encode(rows, atoms, penalty), expected, rtol=0, atol=2e-6)


def test_a_penalty_above_every_correlation_leaves_nothing() -> None:
    rows, atoms = draw(50, 9), unit(draw(6, 9, seed=1))
    assert torch.count_nonzero(encode(rows, atoms, 1.01 * float((rows @ atoms.T).abs().max()))) == 0


def test_encode_gives_the_same_bits_again() -> None:
    rows, atoms = draw(5000, 9), unit(draw(9, 9, seed=1))
    first = encode(rows, atoms, 0.05)
    draw(3, 3)
    torch.rand(7)  # global random state plays no part
    assert torch.equal(encode(rows.clone(), atoms.clone(), 0.05), first)


def test_each_row_is_coded_by_itself() -> None:
    rows, atoms = draw(64, 9), unit(draw(6, 9, seed=1))
    order = torch.randperm(64, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(encode(rows[order], atoms, 0.1), encode(rows, atoms, 0.1)[order], rtol=0, atol=1e-6)


def test_equal_and_zero_atoms_do_not_break_the_solver() -> None:
    atom = unit(draw(1, 9))
    for atoms in (torch.cat([atom, atom]), torch.cat([atom, torch.zeros(1, 9)]), torch.zeros(2, 9)):
        assert torch.isfinite(encode(draw(20, 9, seed=1), atoms, 0.05)).all()


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=8), st.floats(0, 5, width=32))
@settings(max_examples=40, deadline=None)
def test_shrink_is_the_soft_threshold(values: list[float], threshold: float) -> None:
    x = torch.tensor(values)
    kept = x.clone()
    torch.testing.assert_close(shrink(x, threshold), x.sign() * (x.abs() - threshold).clamp_min(0.0), rtol=0, atol=2e-6)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("count", [1, 4, 9])
def test_principal_directions_are_the_principal_ones(count: int) -> None:
    rows = correlated(300, 9)
    found = principal_directions(rows, count)
    _, _, right = torch.linalg.svd(rows.double(), full_matrices=False)
    overlap = (found.double() @ right[:count].T).abs()
    torch.testing.assert_close(overlap, torch.eye(count, dtype=torch.float64), rtol=0, atol=1e-4)
    assert (found.gather(1, found.abs().argmax(dim=1, keepdim=True)) > 0).all()


@pytest.mark.parametrize("count", [1, 9])
@pytest.mark.parametrize(
    "rows", [filters(2000, 256), filters(12, 256), correlated(300, 128)], ids=["many", "few", "fall"]
)
def test_few_directions_of_many_capture_what_the_exact_ones_do(rows: Tensor, count: int) -> None:
    found = principal_directions(rows, count).double()
    _, _, right = torch.linalg.svd(rows.double(), full_matrices=False)
    torch.testing.assert_close(found @ found.T, torch.eye(count, dtype=torch.float64), rtol=0, atol=1e-4)
    captured, most = ((rows.double() @ d.T).square().sum() for d in (found, right[:count]))
    assert float(captured) > 0.99 * float(most)
    torch.manual_seed(3)
    assert torch.equal(principal_directions(rows.clone(), count).double(), found)


def test_directions_of_nothing_are_unit_rows() -> None:
    for length in (9, 256):
        norms = principal_directions(torch.zeros(5, length), 4).float().norm(dim=1)
        torch.testing.assert_close(norms, torch.ones(4))


def test_more_atoms_than_dimensions_are_completed_by_distinct_unit_rows() -> None:
    rows = correlated(300, 4)
    found = principal_directions(rows, 10)
    torch.testing.assert_close(found.float().norm(dim=1), torch.ones(10), rtol=0, atol=1e-6)
    assert torch.equal(principal_directions(rows.clone(), 10), found)
    overlap = (found @ found.T).abs() - torch.eye(10)
    assert overlap.max() < 0.9999


@pytest.mark.parametrize(("m", "r"), [(1, 9), (6, 9), (9, 9), (12, 9), (9, 64)])
def test_learned_atoms_are_unit_deterministic_and_no_worse_than_principal(m: int, r: int) -> None:
    rows = correlated(1500, r)
    penalty = 0.05 * float(rows.std())
    atoms = learn_atoms(rows, m, penalty)
    assert atoms.shape == (m, r)
    torch.testing.assert_close(atoms.norm(dim=1), torch.ones(m), rtol=0, atol=1e-5)
    torch.manual_seed(77)
    assert torch.equal(learn_atoms(rows.clone(), m, penalty), atoms)
    start = principal_directions(rows, m)
    # the objective is what is minimised; both are encoded to convergence, so that only the atoms differ
    learned, principal = (objective(rows, d, encode(rows, d, penalty, 1000), penalty) for d in (atoms, start))
    assert learned <= principal * (1 + 1e-6)


def test_learning_finds_a_planted_sparse_dictionary_better_than_principal_directions_do() -> None:
    truth = unit(draw(9, 9, seed=8))
    generator = torch.Generator().manual_seed(9)
    codes = draw(4000, 9, seed=10) * (torch.rand(4000, 9, generator=generator) < 0.2)
    rows = codes @ truth
    penalty = 0.2 * float(rows.std())
    learned, start = learn_atoms(rows, 9, penalty), principal_directions(rows, 9)
    gain = objective(rows, start, encode(rows, start, penalty, 500), penalty)
    best = objective(rows, truth, encode(rows, truth, penalty, 500), penalty)
    found = objective(rows, learned, encode(rows, learned, penalty, 500), penalty)
    assert (gain - found) / (gain - best) > 0.2


@pytest.mark.parametrize("scale", [1e-25, 1e-6, 1e15])
def test_learning_does_not_depend_on_the_scale(scale: float) -> None:
    rows = correlated(300, 9)
    expected = learn_atoms(rows, 6, 0.05)
    torch.testing.assert_close(learn_atoms(scale * rows, 6, scale * 0.05), expected, rtol=0, atol=1e-3)


@pytest.mark.gpu
def test_a_gpu_is_not_waited_for_while_atoms_move() -> None:
    rows = correlated(2000, 9).cuda()
    penalty = 0.05 * float(rows.std())
    atoms = principal_directions(rows, 9).to("cuda", torch.float32)
    torch.cuda.set_sync_debug_mode("error")
    try:
        improve_atoms(atoms, rows, penalty)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(atoms).all()


@pytest.mark.parametrize(("count", "length"), [(5, 9), (16_384, 9), (16_385, 9), (10**6, 9), (10**5, 256), (50, 4096)])
def test_the_sample_of_many_rows_is_of_a_limited_size(count: int, length: int) -> None:
    stride = sample_stride(count, length)
    sampled = math.ceil(count / stride)
    assert sampled * length <= 2**20
    assert sampled <= 16_384
    assert stride == 1 or sampled >= min(16_384, 2**20 // length) // 2


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
@pytest.mark.parametrize("m", [1, 4, 12])
def test_constant_rows_do_not_crash(value: float, m: int) -> None:
    atoms = learn_atoms(torch.full((30, 9), value), m, 0.0)
    torch.testing.assert_close(atoms.norm(dim=1), torch.ones(m), rtol=0, atol=1e-5)
