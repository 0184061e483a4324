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


@torch.no_grad()
def through(matrix: Tensor, root: Tensor) -> Tensor:
    """M·L, (p, c·t), for the same L at all taps; M as (p, c·t) or (p, c, t), root as for `weighted_low_rank`."""
    taps = matrix if matrix.dim() == 3 else matrix.unflatten(1, (len(root), -1))
    return torch.einsum("pct,cd->pdt", taps, root).flatten(1)


def weighted_low_rank(matrix: Tensor, root: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Factors of the matrix BA of rank r that is nearest to `matrix` for the inputs it is given: least ‖(M − BA)L‖.

    Where E[xxᵀ] = LLᵀ is the second moment of the inputs x, that is the mean square of (M − BA)x. The truncated SVD of
    M·L times L⁻¹ is the minimum, as L is invertible.

    Args:
        matrix: (p, c·t), finite: of each of c input channels the t taps of a convolution, 1 for a linear layer.
        root: (c, c), lower triangular with a diagonal above 0: L, the same for all taps.
        rank: at least 1.

    Returns:
        (p, r) and (r, c·t) in float32, on the matrix's device, each row of the second as long as the column of the
        first that it goes with.
    """
    device, channels = matrix.device, len(root)
    whole = to_float64(matrix).unflatten(1, (channels, -1))
    lower = to_float64(root).to(whole.device)
    up, down = low_rank(through(whole, lower).float(), rank)
    up, down = (to_float64(factor).to(whole.device) for factor in (up, down))
    rows = down.unflatten(1, (channels, -1)).transpose(1, 2)  # (r, t, c)
    plain = torch.linalg.solve_triangular(lower, rows.reshape(-1, channels), upper=False, left=False)
    down = plain.reshape(rows.shape).transpose(1, 2).flatten(1)
    # what L⁻¹ made of the second factor, in equal parts to both, so that neither leaves float16 sooner than it must
    lengths = torch.linalg.vector_norm(up, dim=0), torch.linalg.vector_norm(down, dim=1)
    even = torch.where((lengths[0] > 0) & (lengths[1] > 0), (lengths[1] / lengths[0]).sqrt(), 1.0)
    up, down = up * even, down / even.unsqueeze(1)
    return up.float().to(device).contiguous(), down.float().to(device).contiguous()
