"""The matrix of low rank that is nearest to another one."""

import torch
from torch import Tensor

from .precision import to_float64


@torch.no_grad()
def low_rank(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Factors of the matrix of rank r = min(rank, p, q) nearest to `matrix` in the Frobenius norm: its truncated SVD
    (Eckart and Young 1936).

    The singular vectors of the shorter side are eigenvectors of the Gram matrix MMᵀ, formed and decomposed in float64;
    M is then projected onto them. This takes a fraction of the time of a whole SVD. Squaring costs accuracy only in
    directions whose singular value is below some 1e-8 of the largest, which is less than float32 holds. Both factors
    get the square root of each singular value, so neither leaves the range of float16 sooner than it must.

    Args:
        matrix: (p, q), finite, on any device.
        rank: at least 1.

    Returns:
        (p, r) and (r, q) in float32, on the matrix's device; their product is the approximation.
    """
    device = matrix.device
    whole = to_float64(matrix)
    is_tall = whole.shape[0] > whole.shape[1]
    wide = whole.T if is_tall else whole
    _, vectors = torch.linalg.eigh(wide @ wide.T)  # ascending
    basis = vectors[:, -rank:].flip(1)
    projected = basis.T @ wide
    root = torch.linalg.vector_norm(projected, dim=1).sqrt()
    inverse = torch.where(root > 0, 1 / root, 0)
    left, right = basis * root, projected * inverse.unsqueeze(1)
    up, down = (right.T, left.T) if is_tall else (left, right)
    return up.float().to(device).contiguous(), down.float().to(device).contiguous()
