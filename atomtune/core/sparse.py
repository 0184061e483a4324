"""Sparse coding of rows over a dictionary of atoms, and learning of that dictionary.

The problem (paper, section 3.1) is min over α, D of ½‖X − αD‖² + λ‖α‖₁ with rows X (N, r), coefficients α (N, m)
and atoms D (m, r) of unit norm. Everything here is deterministic: no random start, fixed iteration counts.
"""

import torch
from torch import Tensor

ENCODE_ITERATIONS = 30
"""FISTA steps of `encode`. The start is the ridge solution, so that 30 bring the objective within 0.1 % of its minimum
for up to r learned atoms (nearly orthogonal ones: within rounding), and within some percent where m > r."""

_CHUNK_NUMBERS = 1 << 19
_LEARN_ALTERNATIONS = 6
_LEARN_ITERATIONS = 12
_LEARN_ROWS = 16_384


def shrink(values: Tensor, threshold: float) -> Tensor:
    """Soft threshold, the proximal map of λ‖·‖₁: sign(v)·max(|v| − λ, 0)."""
    return values - values.clamp(-threshold, threshold)


def encode(rows: Tensor, atoms: Tensor, penalty: float, iterations: int = ENCODE_ITERATIONS) -> Tensor:
    """Coefficients α (N, m) in float32 that minimise ½‖X − αD‖² + penalty·‖α‖₁ for fixed atoms D.

    FISTA (Beck & Teboulle 2009) on the Gram matrix, from the ridge solution, for a fixed number of iterations: the same
    rows, atoms and penalty always give the same coefficients. Rows are worked through in chunks that stay in the
    processor's cache.

    Args:
        rows: X, (N, r), any floating type.
        atoms: D, (m, r).
        penalty: λ in absolute units, ≥ 0.
    """
    atoms = atoms.float()
    m = atoms.shape[0]
    gram = atoms @ atoms.T
    step = 1.0 / max(float(torch.linalg.eigvalsh(gram.double())[-1]), 1e-12)
    ridge = torch.linalg.inv((gram + _ridge(gram) * torch.eye(m, device=gram.device)).double()).float()
    advance = torch.eye(m, device=gram.device) - step * gram
    start, drift = atoms.T @ ridge, step * atoms.T
    out = torch.empty(rows.shape[0], m, device=rows.device)
    chunk = max(1, _CHUNK_NUMBERS // max(m, rows.shape[1]))
    for first in range(0, rows.shape[0], chunk):
        part = rows[first : first + chunk].float()
        out[first : first + chunk] = _fista(part @ start, part @ drift, advance, step * penalty, iterations)
    return out


def _fista(start: Tensor, drift: Tensor, advance: Tensor, threshold: float, iterations: int) -> Tensor:
    current, ahead, t = start, start, 1.0
    for _ in range(iterations):
        gradient_step = torch.addmm(drift, ahead, advance)
        following = shrink(gradient_step, threshold)
        t_next = (1.0 + (1.0 + 4.0 * t * t) ** 0.5) / 2.0
        ahead = torch.lerp(current, following, 1.0 + (t - 1.0) / t_next)
        current, t = following, t_next
    return current


def _ridge(gram: Tensor) -> float:
    return max(1e-3 * float(gram.diagonal().mean()), 1e-12)  # the floor is for atoms that are all zero


def leading_directions(rows: Tensor, count: int) -> Tensor:
    """`count` unit rows (count, r): the leading principal directions of X, signs fixed, completed by a seeded set.

    Where count exceeds r, the rest are pseudo-random unit rows from a fixed seed.
    """
    r = rows.shape[1]
    wide = rows.double()
    _, vectors = torch.linalg.eigh(wide.T @ wide)
    directions = vectors.flip(1).T[:count]
    # an eigenvector's sign is the solver's whim: make the entry of largest size positive
    peak = directions.abs().argmax(dim=1, keepdim=True)
    directions = directions * directions.gather(1, peak).sign()
    if count > r:
        generator = torch.Generator().manual_seed(0)
        extra = torch.randn(count - r, r, generator=generator, dtype=torch.float64).to(directions.device)
        directions = torch.cat([directions, extra / extra.norm(dim=1, keepdim=True)])
    return directions.float()


def learn_atoms(rows: Tensor, count: int, penalty: float) -> Tensor:
    """Atoms D (count, r) of unit norm for rows X (N, r), by alternating encoding and block coordinate descent.

    The update of D is that of Mairal et al. 2010 (online dictionary learning, algorithm 2), on an evenly spaced sample
    of rows. An atom that no row uses keeps its place.
    """
    stride = max(1, rows.shape[0] // _LEARN_ROWS)
    sample = rows[::stride].float()
    atoms = leading_directions(sample, count)
    for _ in range(_LEARN_ALTERNATIONS):
        coefficients = encode(sample, atoms, penalty, _LEARN_ITERATIONS)
        usage, target = coefficients.T @ coefficients, coefficients.T @ sample
        floor = 1e-8 * float(usage.diagonal().max())
        for j in range(count):
            if float(usage[j, j]) <= floor:
                continue
            moved = atoms[j] + (target[j] - usage[j] @ atoms) / usage[j, j]
            length = float(moved.norm())
            if length > 0.0:
                atoms[j] = moved / length
    return atoms
