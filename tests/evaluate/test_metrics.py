"""Scores against their limits, against plain formulas, and against the packages that define them."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from atomtune.evaluation import metrics as scores

Array = npt.NDArray[np.float64]


def rows(n: int, d: int, seed: int = 0, shift: float = 0.0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def shuffled(embeddings: Tensor, seed: int = 7) -> Tensor:
    return embeddings[torch.randperm(len(embeddings), generator=torch.Generator().manual_seed(seed))]


def rounded_elsewhere(embeddings: Tensor) -> Tensor:
    """The same embeddings as another batch would have left them: float32, with an error in the last digits."""
    noise = rows(*embeddings.shape, seed=11).clamp(-2, 2)
    return (embeddings * (1 + 1e-7 * noise)).float()


def cosine(a: Array, b: Array) -> float:
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def test_cosines_are_those_of_the_formula() -> None:
    a, b = rows(4, 6), rows(3, 6, seed=1)
    expected = [[cosine(x, y) for y in b.numpy()] for x in a.numpy()]
    assert scores.cosine_matrix(a, b).numpy() == pytest.approx(np.array(expected), abs=1e-12)
    assert scores.cosine_matrix(a, b).dtype == torch.float64


def test_lengths_do_not_matter() -> None:
    a, b = rows(4, 6), rows(3, 6, seed=1)
    lengths = torch.tensor([1e-200, 1e-3, 7.0, 1e200], dtype=torch.float64).unsqueeze(1)
    assert torch.allclose(scores.cosine_matrix(a * lengths, 5 * b), scores.cosine_matrix(a, b), atol=1e-12)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (torch.zeros(2, 3), "zero"),
        (torch.tensor([[1.0, 2.0, 3.0], [1.0, float("nan"), 0.0]]), "not finite"),
        (torch.tensor([[1.0, float("inf"), 0.0]]), "not finite"),
        (torch.empty(0, 3), "rows of embeddings"),
        (torch.ones(3), "rows of embeddings"),
        (torch.ones(2, 4), "different spaces"),
    ],
)
def test_what_has_no_cosine_is_refused(bad: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        scores.cosine_matrix(bad, torch.ones(2, 3))


def test_fidelity_is_the_mean_over_all_pairs() -> None:
    generated, reference = rows(5, 8, shift=0.3), rows(4, 8, seed=1, shift=0.3)
    pairs = [[cosine(x, y) for y in reference.numpy()] for x in generated.numpy()]
    assert scores.fidelity(generated, reference) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert scores.fidelity_each(generated, reference).numpy() == pytest.approx(np.mean(pairs, axis=1), abs=1e-12)
    assert scores.fidelity(generated[:1], generated[:1]) == pytest.approx(1)
    assert scores.fidelity(generated[:1], -generated[:1]) == pytest.approx(-1)


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_identical_images_are_one_image(n: int) -> None:
    assert scores.vendi(rows(1, 16).repeat(n, 1)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("n", [1, 2, 7, 16])
def test_orthogonal_images_count_each(n: int) -> None:
    basis = torch.linalg.qr(rows(16, 16)).Q[:n]
    assert scores.vendi(basis * torch.arange(1, n + 1).unsqueeze(1)) == pytest.approx(n, abs=1e-9)


def test_two_groups_count_twice() -> None:
    groups = torch.tensor([[1.0, 0.0, 0.0]] * 6 + [[0.0, 2.0, 0.0]] * 6)
    assert scores.vendi(groups) == pytest.approx(2, abs=1e-9)
    # 9 and 3: exp of the entropy of (3/4, 1/4)
    uneven = torch.tensor([[1.0, 0.0, 0.0]] * 9 + [[0.0, 2.0, 0.0]] * 3)
    assert scores.vendi(uneven) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)), abs=1e-9)


@pytest.mark.parametrize(("n", "d"), [(5, 30), (30, 5), (12, 12)])
def test_vendi_is_that_of_the_formula(n: int, d: int) -> None:
    embeddings = rows(n, d, shift=0.4)
    kernel = np.array([[cosine(x, y) for y in embeddings.numpy()] for x in embeddings.numpy()])
    shares = np.linalg.eigvals(kernel / n).real
    shares = shares[shares > 1e-15]
    assert scores.vendi(embeddings) == pytest.approx(np.exp(-np.sum(shares * np.log(shares))), abs=1e-9)


def test_pairs_stay_pairs() -> None:
    images, texts = rows(5, 8), rows(5, 8, seed=1)
    expected = np.array([cosine(x, y) for x, y in zip(images.numpy(), texts.numpy(), strict=True)])
    assert scores.alignment_each(images, texts).numpy() == pytest.approx(expected, abs=1e-12)
    assert scores.alignment(images, texts) == pytest.approx(expected.mean(), abs=1e-12)
    assert scores.drift_each(images, texts).numpy() == pytest.approx(1 - expected, abs=1e-12)
    assert scores.drift(images, texts) == pytest.approx(1 - expected.mean(), abs=1e-12)
    for score in (scores.alignment_each, scores.drift_each):
        with pytest.raises(ValueError, match="not in pairs"):
            score(images, texts[:4])


def test_drift_runs_from_nothing_to_two() -> None:
    embeddings = rows(50, 8)
    none = scores.drift_each(embeddings, 3 * embeddings)
    assert none.min() >= 0
    assert none.max() < 1e-12
    assert scores.drift(embeddings, -embeddings) == pytest.approx(2)


def plain_mmd(a: Array, b: Array, degree: int = 3, gamma: float | None = None) -> float:
    """The unbiased estimate, pair by pair."""
    gamma = 1 / a.shape[1] if gamma is None else gamma

    def kernel(x: Array, y: Array) -> float:
        return float((gamma * (x @ y) + 1) ** degree)

    def within(x: Array) -> float:
        return float(np.mean([kernel(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]))

    return within(a) + within(b) - 2 * float(np.mean([[kernel(x, y) for y in b] for x in a]))


@pytest.mark.parametrize(("degree", "gamma"), [(3, None), (2, 1.0)])
def test_kid_is_that_of_the_formula(degree: int, gamma: float | None) -> None:
    a, b = rows(9, 4), rows(13, 4, seed=1, shift=0.5)
    expected = plain_mmd(a.numpy(), b.numpy(), degree, gamma)
    for size in (None, 2, 9):
        distance, _ = scores.kid(a, b, degree, size, subsets=5, gamma=gamma)
        assert distance == pytest.approx(expected, abs=1e-12)


def test_kernel_sums_do_not_depend_on_their_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = rows(50, 4), rows(30, 4, seed=1)
    whole = scores.kid(a, b)
    monkeypatch.setattr(scores, "_BLOCK", 7)
    assert scores.kid(a, b) == pytest.approx(whole, abs=1e-12)


def test_kid_of_equal_distributions_is_zero_on_average() -> None:
    drawn, biased = [], []
    for i in range(60):
        a, b = rows(40, 6, seed=2 * i), rows(40, 6, seed=2 * i + 1)
        drawn.append(scores.kid(a, b, subsets=1)[0])
        # the estimate that leaves the diagonals in
        within_a, within_b, across = (((x @ y.T / 6 + 1) ** 3).mean() for x, y in ((a, a), (b, b), (a, b)))
        biased.append(float(within_a + within_b - 2 * across))
    standard_error = np.std(drawn, ddof=1) / math.sqrt(len(drawn))
    assert abs(np.mean(drawn)) < 3 * standard_error
    assert np.mean(biased) > 10 * standard_error


def test_kid_tells_distributions_apart() -> None:
    a = rows(80, 6)
    near, far = (scores.kid(a, rows(80, 6, seed=1, shift=shift)) for shift in (0.2, 1.0))
    assert far[0] > near[0] > -near[1]
    assert far[0] > 5 * far[1]


def test_the_spread_of_kid_is_that_over_subsets() -> None:
    a, b = rows(60, 3), rows(60, 3, seed=1, shift=0.3)
    rng = np.random.default_rng(0)
    drawn = [plain_mmd(*(rng.permutation(x.numpy())[:6] for x in (a, b))) for _ in range(300)]
    distance, spread = scores.kid(a, b, subset_size=6, subsets=600)
    assert spread == pytest.approx(np.std(drawn), rel=0.2)
    assert abs(distance - np.mean(drawn)) < 4 * np.std(drawn) / math.sqrt(len(drawn))
    assert scores.kid(a, b, subset_size=60)[1] == pytest.approx(0, abs=1e-12)  # every subset is the whole
    assert scores.kid(a, b, subset_size=6, seed=0) == scores.kid(a, b, subset_size=6, seed=0)
    assert scores.kid(a, b, subset_size=6, seed=0)[1] != scores.kid(a, b, subset_size=6, seed=1)[1]


@pytest.mark.parametrize("changes", [{"subset_size": 1}, {"subset_size": 9}, {"subsets": 0}])
def test_subsets_that_do_not_fit_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="subsets of"):
        scores.kid(rows(8, 3), rows(20, 3), **changes)


@pytest.mark.parametrize("distance", [scores.kid, scores.fid])
def test_a_single_row_is_no_distribution(distance: Callable[[Tensor, Tensor], object]) -> None:
    with pytest.raises(ValueError, match="2 or more rows"):
        distance(rows(1, 3), rows(8, 3))


def with_moments(n: int, mean: Array, covariance: Array, seed: int) -> Tensor:
    """Rows whose mean and unbiased covariance are exactly these."""
    raw = rows(n, len(mean), seed=seed).numpy()
    raw -= raw.mean(axis=0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False))).T
    return torch.from_numpy(white @ np.linalg.cholesky(covariance).T + mean)


def test_fid_of_two_gaussians_is_the_closed_form() -> None:
    mean_a, mean_b = np.array([0.0, 1.0, -2.0]), np.array([0.5, 1.0, 0.0])
    variances_a, variances_b = np.array([1.0, 4.0, 0.25]), np.array([9.0, 1.0, 0.25])
    a = with_moments(50, mean_a, np.diag(variances_a), seed=0)
    b = with_moments(80, mean_b, np.diag(variances_b), seed=1)
    expected = np.sum((mean_a - mean_b) ** 2) + np.sum((np.sqrt(variances_a) - np.sqrt(variances_b)) ** 2)
    assert scores.fid(a, b) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("n", "m", "d"), [(40, 60, 5), (6, 60, 10), (6, 7, 10), (60, 6, 10)])
def test_fid_is_that_of_the_formula(n: int, m: int, d: int) -> None:
    a, b = rows(n, d, shift=0.2), 2 * rows(m, d, seed=1)
    covariance_a, covariance_b = np.cov(a.numpy(), rowvar=False), np.cov(b.numpy(), rowvar=False)
    product = np.linalg.eigvals(covariance_a @ covariance_b).real.clip(min=0)
    apart = np.sum((a.numpy().mean(axis=0) - b.numpy().mean(axis=0)) ** 2)
    expected = apart + np.trace(covariance_a) + np.trace(covariance_b) - 2 * np.sum(np.sqrt(product))
    assert scores.fid(a, b) == pytest.approx(expected, abs=1e-6)
    assert scores.fid(b, a) == pytest.approx(scores.fid(a, b), abs=1e-9)


@pytest.mark.parametrize(("n", "d"), [(30, 4), (4, 30), (2, 3)])
def test_fid_of_a_set_with_itself_is_zero(n: int, d: int) -> None:
    a = rows(n, d)
    assert scores.fid(a, shuffled(a)) == pytest.approx(0, abs=1e-9)
    assert scores.fid(a, a + 1) == pytest.approx(d, abs=1e-9)


ONE_SET: list[Callable[[Tensor], float]] = [scores.vendi]
TWO_SETS: list[Callable[[Tensor, Tensor], float | tuple[float, float]]] = [scores.fidelity, scores.kid, scores.fid]
PAIRS: list[Callable[[Tensor, Tensor], float]] = [scores.alignment, scores.drift]


@pytest.mark.parametrize(("n", "d"), [(60, 12), (20, 48)])
def test_neither_order_nor_rounding_matters(n: int, d: int) -> None:
    a, b = (torch.nn.functional.normalize(rows(n, d, seed=i, shift=0.3)) for i in (0, 1))
    order = torch.randperm(n, generator=torch.Generator().manual_seed(3))
    for score in ONE_SET:
        assert score(shuffled(a)) == pytest.approx(score(a), abs=1e-9)
        assert score(rounded_elsewhere(a)) == pytest.approx(score(a), abs=1e-5)
    for between in TWO_SETS:
        assert between(shuffled(a), shuffled(b, seed=8)) == pytest.approx(between(a, b), abs=1e-9)
        assert between(rounded_elsewhere(a), rounded_elsewhere(b)) == pytest.approx(between(a, b), abs=1e-5)
    for paired in PAIRS:
        assert paired(a[order], b[order]) == pytest.approx(paired(a, b), abs=1e-9)
        assert paired(rounded_elsewhere(a), rounded_elsewhere(b)) == pytest.approx(paired(a, b), abs=1e-5)


@pytest.mark.parametrize(("n", "d"), [(9, 30), (30, 9)])
def test_vendi_is_that_of_its_authors(n: int, d: int) -> None:
    package = pytest.importorskip("vendi_score.vendi")
    embeddings = rows(n, d, shift=0.4)
    assert scores.vendi(embeddings) == pytest.approx(package.score_dual(embeddings.numpy()), abs=1e-9)
    kernel = scores.cosine_matrix(embeddings, embeddings).numpy()
    assert scores.vendi(embeddings) == pytest.approx(package.score_K(kernel), abs=1e-9)


def test_kid_is_that_of_torch_fidelity() -> None:
    package = pytest.importorskip("torch_fidelity.metric_kid")
    a, b = rows(40, 8), rows(40, 8, seed=1, shift=0.3)
    # one subset that is the whole, so that chance has no part in it
    found = package.kid_featuresdict_to_metric(
        {"rows": a}, {"rows": b}, "rows", kid_subsets=1, kid_subset_size=40, verbose=False
    )
    assert scores.kid(a, b)[0] == pytest.approx(found[package.KEY_METRIC_KID_MEAN], abs=1e-12)


def test_the_spread_of_kid_is_that_of_torch_fidelity() -> None:
    package = pytest.importorskip("torch_fidelity.metric_kid")
    a, b = rows(200, 8), rows(200, 8, seed=1, shift=0.3)
    found = package.kid_featuresdict_to_metric(
        {"rows": a}, {"rows": b}, "rows", kid_subsets=400, kid_subset_size=50, verbose=False
    )
    distance, spread = scores.kid(a, b, subset_size=50, subsets=400)
    assert spread == pytest.approx(found[package.KEY_METRIC_KID_STD], rel=0.2)
    assert abs(distance - found[package.KEY_METRIC_KID_MEAN]) < 4 * spread / 20


def test_fid_is_that_of_torch_fidelity() -> None:
    package = pytest.importorskip("torch_fidelity.metric_fid")
    a, b = rows(60, 8), 2 * rows(50, 8, seed=1, shift=0.3)
    statistics = [package.fid_features_to_statistics(features) for features in (a, b)]
    found = package.fid_statistics_to_metric(*statistics, verbose=False)
    assert scores.fid(a, b) == pytest.approx(found[package.KEY_METRIC_FID], abs=1e-6)
