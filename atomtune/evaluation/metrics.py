"""Scores of images from their embeddings: pure functions on tensors.

Embeddings are rows, (n, d), of any floating type; everything is computed from them in float64 on the CPU. No score
depends on the order of the rows (for paired ones: of the pairs). Embeddings of the same images made in other batches
differ by rounding, about 1e-7 an entry, and no score by more than 1e-5.
"""

import torch
from torch import Tensor

from ..core.precision import all_finite

_BLOCK = 1024  # rows of a kernel matrix that are held at once
_LARGEST_SUBSET = 1000  # as Bińkowski et al. take


def cosine_matrix(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of every row of `a`, (n, d), with every row of `b`, (m, d): (n, m), float64.

    ValueError for no rows, zero rows, numbers that are not finite, or widths that differ.
    """
    a, b = _unit(a), _unit(b)
    _same_width(a, b)
    return a @ b.T


def fidelity(generated: Tensor, reference: Tensor) -> float:
    """Mean cosine over all pairs of a generated, (n, d), and a reference image, (m, d).

    The fidelity of the filter atoms paper in the space of DINOv2; DINO and CLIP-I of DreamBooth (Ruiz et al. 2023,
    section 4.1) in those of DINO and CLIP.
    """
    return float(cosine_matrix(generated, reference).mean())


def fidelity_each(generated: Tensor, reference: Tensor) -> Tensor:
    """For each generated image, (n, d), its mean cosine with the reference images, (m, d): (n,), float64."""
    return cosine_matrix(generated, reference).mean(dim=1)


def vendi(embeddings: Tensor) -> float:
    """Vendi score (Friedman and Dieng 2023, arXiv 2210.02410): how many different images there are, 1 to n.

    exp of the Shannon entropy of the eigenvalues of K/n, where K is the cosine kernel of the rows, (n, d). It is 1
    where all rows point one way and n where they are orthogonal, so it cannot exceed d.
    """
    rows = _unit(embeddings)
    # both Gram matrices have the same eigenvalues but for zeros
    gram = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
    shares = torch.linalg.eigvalsh(gram / len(rows)).clamp(min=0)
    return float(torch.special.entr(shares).sum().exp())


def alignment_each(images: Tensor, texts: Tensor) -> Tensor:
    """Cosine of image i with its prompt i, both (n, d) in one space: (n,), float64. ValueError as `cosine_matrix`."""
    images, texts = _unit(images), _unit(texts)
    if images.shape != texts.shape:
        raise ValueError(f"rows are not in pairs: {tuple(images.shape)} and {tuple(texts.shape)}")
    return (images * texts).sum(dim=1)


def alignment(images: Tensor, texts: Tensor) -> float:
    """Mean cosine of images with their prompts; in the space of CLIP the CLIP-T of DreamBooth."""
    return float(alignment_each(images, texts).mean())


def drift_each(tuned: Tensor, base: Tensor) -> Tensor:
    """1 − cosine of image i by the tuned and by the base model, same prompt and seed: (n,), float64, 0 to 2."""
    return (1 - alignment_each(tuned, base)).clamp(min=0)


def drift(tuned: Tensor, base: Tensor) -> float:
    """Mean of `drift_each`: how far training moved the model where it should not have.

    PEFT's comparison of methods for image generation has a measure of this name and purpose too.
    """
    return float(drift_each(tuned, base).mean())


def kid(
    a: Tensor,
    b: Tensor,
    degree: int = 3,
    subset_size: int | None = None,
    subsets: int = 100,
    seed: int = 0,
    gamma: float | None = None,
) -> tuple[float, float]:
    """Kernel distance (Bińkowski et al. 2018, arXiv 1801.01401): squared MMD by the kernel (γ·x·y + 1)^degree.

    The distance is the unbiased estimate from all rows, which is what the mean over subsets tends to as their number
    grows; it can be below zero. The spread is the standard deviation of the estimate over seeded subsets of
    `subset_size` rows of each. Rows are sorted before subsets are drawn, so that their order does not matter.

    Args:
        a, b: (n, d) and (m, d), used as they are.
        subset_size: of rows, at most min(n, m); half of that by default, and no more than 1,000.
        gamma: γ; 1/d by default, as in the paper, for features with entries of order one. Rows of unit norm have
            entries of order 1/√d, so that 1 means the same for them; with 1/d their kernel is all but linear.

    Returns:
        The distance and the spread.

    Raises:
        ValueError: for fewer than two rows, numbers that are not finite, or a subset that does not fit.
    """
    a, b = _sorted(_rows(a, least=2)), _sorted(_rows(b, least=2))
    _same_width(a, b)
    smaller = min(len(a), len(b))
    size = max(2, min(_LARGEST_SUBSET, smaller // 2)) if subset_size is None else subset_size
    if not 2 <= size <= smaller or subsets < 1:
        raise ValueError(f"cannot draw {subsets} subsets of {size} out of {smaller} rows")
    kernel = _Kernel(1 / a.shape[1] if gamma is None else gamma, degree)
    generator = torch.Generator().manual_seed(seed)
    # column 0 takes all rows, each other column a subset of them
    of_a, of_b = (_choices(len(rows), size, subsets, generator) for rows in (a, b))
    within = _within(a, of_a, kernel) + _within(b, of_b, kernel)
    across = kernel.sums(a, b, of_a, of_b) / (of_a.sum(dim=0) * of_b.sum(dim=0))
    estimates = within - 2 * across
    return float(estimates[0]), float(estimates[1:].std(correction=0))


def fid(a: Tensor, b: Tensor) -> float:
    """Fréchet distance (Heusel et al. 2017, arXiv 1706.08500) of two sets of rows, (n, d) and (m, d), as Gaussians.

    |μa − μb|² + tr Σa + tr Σb − 2 tr (Σa Σb)^½. With Σa = AᵀA and Σb = BᵀB the last trace is the sum of the singular
    values of ABᵀ, which needs no matrix root, so that sets smaller than d are no trouble. The distance of small sets
    is biased upwards; 2,048 rows of each are the least that is usually asked for.

    ValueError for fewer than two rows or numbers that are not finite.
    """
    a, b = _rows(a, least=2), _rows(b, least=2)
    _same_width(a, b)
    root_a, root_b = _root(a), _root(b)
    apart = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    spread = root_a.square().sum() + root_b.square().sum()
    return max(0.0, float(apart + spread - 2 * torch.linalg.svdvals(root_a @ root_b.T).sum()))


class _Kernel:
    """(γ·x·y + 1)^degree."""

    def __init__(self, gamma: float, degree: int) -> None:
        self.gamma = gamma
        self.degree = degree

    def of(self, products: Tensor) -> Tensor:
        return (self.gamma * products + 1) ** self.degree

    def sums(self, x: Tensor, y: Tensor, of_x: Tensor, of_y: Tensor) -> Tensor:
        """For every column of the choices, (n, s) and (m, s), the sum of the kernel over the chosen pairs: (s,)."""
        total = torch.zeros(of_x.shape[1], dtype=torch.float64)
        for first in range(0, len(x), _BLOCK):
            block = slice(first, first + _BLOCK)
            total += (of_x[block] * (self.of(x[block] @ y.T) @ of_y)).sum(dim=0)
        return total


def _within(rows: Tensor, chosen: Tensor, kernel: _Kernel) -> Tensor:
    """Mean of the kernel over pairs of different chosen rows, by column of the choices."""
    count = chosen.sum(dim=0)
    with_itself = kernel.of(rows.square().sum(dim=1)) @ chosen
    return (kernel.sums(rows, rows, chosen, chosen) - with_itself) / (count * (count - 1))


def _choices(rows: int, size: int, subsets: int, generator: torch.Generator) -> Tensor:
    """Ones where a row is chosen: (rows, 1 + subsets), float64; the first column chooses all."""
    chosen = torch.zeros(rows, 1 + subsets, dtype=torch.float64)
    chosen[:, 0] = 1
    for column in range(1, 1 + subsets):
        chosen[torch.randperm(rows, generator=generator)[:size], column] = 1
    return chosen


def _root(rows: Tensor) -> Tensor:
    """A matrix A of at most d rows such that AᵀA is the covariance (unbiased) of the rows, (n, d)."""
    centred = (rows - rows.mean(dim=0)) / (len(rows) - 1) ** 0.5
    return torch.linalg.qr(centred, mode="r").R if len(rows) > rows.shape[1] else centred


def _sorted(rows: Tensor) -> Tensor:
    """The rows in the order of their numbers, first column first."""
    return rows[sorted(range(len(rows)), key=rows.tolist().__getitem__)]


def _unit(embeddings: Tensor) -> Tensor:
    rows = _rows(embeddings)
    largest = rows.abs().amax(dim=1, keepdim=True)
    if not bool((largest > 0).all()):
        raise ValueError("an embedding is zero, so it has no direction")
    rows = rows / largest  # squares of very small or large numbers leave the range
    return rows / rows.norm(dim=1, keepdim=True)


def _rows(embeddings: Tensor, least: int = 1) -> Tensor:
    if embeddings.ndim != 2 or len(embeddings) < least or not embeddings.shape[1]:
        raise ValueError(
            f"expected {least} or more rows of embeddings, not a tensor of shape {tuple(embeddings.shape)}"
        )
    rows = embeddings.detach().to("cpu", torch.float64)
    if not all_finite(rows):
        raise ValueError("an embedding holds numbers that are not finite")
    return rows


def _same_width(a: Tensor, b: Tensor) -> None:
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"embeddings of {a.shape[1]} and of {b.shape[1]} numbers are of different spaces")
