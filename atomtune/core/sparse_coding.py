"""Sparse coding of rows over a dictionary of atoms, and learning of that dictionary.

The problem (paper, section 3.1) is min over α, D of ½‖X − αD‖² + λ‖α‖₁ with rows X (N, r), coefficients α (N, m)
and atoms D (m, r) of unit norm. Everything here is deterministic: no random start, and iteration counts that follow
from the atoms alone.

Rows and coefficients are worked on as columns, (r, n) and (m, n): a small matrix times a wide one takes a CPU a fifth
of the time of a tall one times a small one.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import to_float64

ENCODE_ITERATIONS = 30
"""Most iterations of a `Coder`. Atoms that are nearly orthogonal, as those learned from trained UNets, need 3 to 6;
where atoms are more than r, 30 bring the objective within some percent of its minimum."""

ENCODE_ACCURACY = 1e-6
"""What the iterations leave of the distance between the ridge solution and the minimiser, at most, where fewer than
`ENCODE_ITERATIONS` are enough. The ridge solution is within some percent: this is float32 rounding."""

_CHUNK_NUMBERS = 1 << 19
_CHUNK_NUMBERS_GPU = 1 << 27
_LEARN_ALTERNATIONS = 6
_LEARN_ITERATIONS = 4
_LEARN_ROWS = 16_384
_LEARN_NUMBERS = 1 << 20
_EXACT_LENGTH = 64
_POWER_STEPS = 16
_POWER_SPARE = 8


def shrink(values: Tensor, threshold: float | Tensor) -> Tensor:
    """Soft threshold, the proximal map of λ‖·‖₁: sign(v)·max(|v| − λ, 0)."""
    limit: Any = threshold  # torch takes both kinds, but its types do not know that they may be either
    return values - values.clamp(-limit, limit)


def chunk_numbers(device: torch.device) -> int:
    """How many numbers to work on at a time: what stays in a processor's cache, or what keeps a GPU busy."""
    return _CHUNK_NUMBERS if device.type == "cpu" else _CHUNK_NUMBERS_GPU


class Coder:
    """Codes rows over fixed atoms; what depends on the atoms alone is worked out once.

    Minimises ½‖X − αD‖² + penalty·‖α‖₁ by proximal gradient steps on the Gram matrix G = D·Dᵀ, from the ridge solution.
    With the step 2/(μ + L), μ and L the extreme eigenvalues of G, each of them brings α closer to the minimiser by the
    factor (L − μ)/(L + μ), so that their number follows from `ENCODE_ACCURACY`. Where that exceeds `iterations`, as for
    more than r atoms or nearly dependent ones, it is `iterations` steps of FISTA (Beck & Teboulle 2009).

    Without a penalty every step is linear in X, and so are all of them together: `linear_map`.

    Args:
        atoms: D, (m, r).
        penalty: λ in absolute units, ≥ 0.
        device: where rows will be; that of the atoms without one. Atoms on a CPU spare a GPU the wait for them.

    Attributes:
        iterations: how many steps are made.
        contracts: true where they need no momentum.
    """

    def __init__(
        self,
        atoms: Tensor,
        penalty: float,
        iterations: int = ENCODE_ITERATIONS,
        device: torch.device | None = None,
    ) -> None:
        wide = atoms.detach().to("cpu", torch.float64)
        m = wide.shape[0]
        gram, identity = wide @ wide.T, torch.eye(m, dtype=torch.float64)
        spectrum = torch.linalg.eigvalsh(gram)
        most = max(float(spectrum[-1]), 1e-12)
        least = max(float(spectrum[0]), 0.0) if m <= wide.shape[1] else 0.0
        needed = _contractions((most - least) / (most + least))
        self.contracts = needed <= iterations
        self.iterations = needed if self.contracts else iterations
        step = 2.0 / (most + least) if self.contracts else 1.0 / most
        advance, drift = identity - step * gram, step * wide
        ridge = max(1e-3 * float(gram.diagonal().mean()), 1e-12)  # the floor is for atoms that are all zero
        first = advance @ torch.linalg.solve(gram + ridge * identity, wide) + drift
        self._atoms, self._threshold = m, step * penalty
        self._enter = torch.cat([first, drift]).to(device or atoms.device, torch.float32)
        self._advance = advance.to(device or atoms.device, torch.float32)
        self._linear: Tensor | None = None
        if penalty == 0.0:
            self._enter, self._advance = torch.cat([first, drift]), advance
            linear = self._steps(torch.eye(wide.shape[1], dtype=torch.float64))
            self._linear = linear.to(device or atoms.device, torch.float32)

    def codes(self, columns: Tensor) -> Tensor:
        """Rows as columns, (r, n), to their coefficients, (m, n), both float32."""
        return self._steps(columns) if self._linear is None else self._linear @ columns

    def _steps(self, columns: Tensor) -> Tensor:
        entered = self._enter @ columns  # one product for the first step, from the ridge solution, and what all share
        current, drift = F.softshrink(entered[: self._atoms], self._threshold), entered[self._atoms :]
        ahead, t = current, (1.0 + math.sqrt(5.0)) / 2.0
        for _ in range(self.iterations - 1):
            following = F.softshrink(torch.addmm(drift, self._advance, ahead), self._threshold)
            if self.contracts:
                ahead = following
            else:
                t, before = (1.0 + math.sqrt(1.0 + 4.0 * t * t)) / 2.0, t
                ahead = torch.lerp(current, following, 1.0 + (before - 1.0) / t)
            current = following
        return current


def linear_map(atoms: Tensor) -> Tensor:
    """P (r, m) float32 with α = X·P for coefficients without a penalty: the pseudo-inverse of the atoms D (m, r).

    Exact to float32 rounding where the atoms are independent; otherwise as near as the steps of `Coder` bring it.
    """
    coder = Coder(atoms, 0.0)
    return coder.codes(torch.eye(atoms.shape[1], device=atoms.device)).T.contiguous()


def _contractions(factor: float) -> int:
    """Steps until factor^steps ≤ `ENCODE_ACCURACY`."""
    if factor <= ENCODE_ACCURACY:
        return 1
    return math.ceil(math.log(ENCODE_ACCURACY) / math.log(factor)) if factor < 1.0 else 2**31


def principal_directions(rows: Tensor, count: int) -> Tensor:
    """`count` unit rows (count, r), float64 on the CPU: the leading principal directions of X (N, r).

    The products XᵀX and their eigenvectors are float64: eigenvectors of nearly equal eigenvalues turn freely under the
    rounding of float32. Of each direction the entry of largest size is positive. Where few of many directions are
    wanted they are approximate: what they capture of X is within about 1 % of what the exact ones do, the more so the
    faster the spectrum falls off. Where count exceeds r they are completed by pseudo-random unit rows of a fixed seed.
    """
    wide = to_float64(rows).contiguous()  # sums in one order, whatever the strides were
    products = (wide.T @ wide).cpu()  # on a GPU an eigendecomposition of this size takes longer
    r = len(products)
    if r <= max(_EXACT_LENGTH, 2 * (count + _POWER_SPARE)):
        vectors = torch.linalg.eigh(products).eigenvectors.flip(-1)
    else:
        vectors = _subspace_iteration(products, count + _POWER_SPARE)
    directions = vectors.T[:count]
    peak = directions.abs().argmax(dim=1, keepdim=True)
    directions = directions * directions.gather(1, peak).sign()
    if count > r:
        directions = torch.cat([directions, F.normalize(_seeded(count - r, r), dim=1)])
    return directions


def _subspace_iteration(products: Tensor, count: int) -> Tensor:
    """About the `count` leading unit eigenvectors (r, count) of XᵀX (r, r), in half the time of all of them."""
    r = len(products)
    # a trace of the identity keeps every vector a direction, whatever the rank of X
    products = products / products.trace().clamp_min(1e-200) + 1e-7 * torch.eye(r, dtype=products.dtype)
    vectors = _seeded(r, count)
    for _ in range(_POWER_STEPS):
        moved = products @ vectors
        # their products with the eigenvectors of their Gram matrix are orthogonal, and sorted
        turned = moved @ torch.linalg.eigh(moved.T @ moved).eigenvectors.flip(-1)
        vectors = turned / turned.norm(dim=0, keepdim=True).clamp_min(1e-30)
    return vectors


def _seeded(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def sample_stride(count: int, length: int) -> int:
    """Every how many of `count` rows of `length` numbers `learn_atoms` is to be given."""
    return max(1, math.ceil(count / max(1, min(_LEARN_ROWS, _LEARN_NUMBERS // length))))


def learn_atoms(rows: Tensor, count: int, penalty: float) -> Tensor:
    """Atoms D (count, r) of unit norm for rows X (N, r), float32, where the rows are.

    Without a penalty they are the leading principal directions, as no other atoms of that number give back more of the
    rows. With one, some steps of FISTA on the coefficients, from where they were, alternate with the update of D of
    Mairal et al. 2010 (online dictionary learning, algorithm 2), from the principal directions. An atom that no row
    uses keeps its place.

    Args:
        rows: any floating type, finite.
        penalty: λ in absolute units.
    """
    atoms = principal_directions(rows, count).to(rows.device, torch.float32)
    if penalty > 0.0:
        improve_atoms(atoms, rows, penalty)
    return atoms


def improve_atoms(atoms: Tensor, rows: Tensor, penalty: float) -> None:
    """Move atoms (m, r), in place, to where rows (N, r) have sparser coefficients; as `learn_atoms` does."""
    rows = rows.float().contiguous()
    scale = rows.abs().amax()
    scale = torch.where(scale > 0.0, scale, 1.0)
    rows = rows / scale  # so that squares neither overflow nor vanish
    codes: Tensor | None = None
    for _ in range(_LEARN_ALTERNATIONS):
        codes = _approach(rows, atoms, penalty / scale, codes)
        _move_atoms(atoms, codes @ codes.T, codes @ rows)


def _approach(rows: Tensor, atoms: Tensor, penalty: Tensor, codes: Tensor | None) -> Tensor:
    """Coefficients (m, n) some steps nearer to the minimiser; from none, the first step is from zero."""
    gram = atoms @ atoms.T
    step = 1.0 / gram.abs().sum(dim=1).amax().clamp_min(1e-12)  # of no less than the largest eigenvalue
    drift, threshold = (step * atoms) @ rows.T, step * penalty
    advance = torch.eye(len(atoms), device=atoms.device) - step * gram
    current = shrink(drift, threshold) if codes is None else codes
    ahead, t = current, 1.0
    for _ in range(_LEARN_ITERATIONS):
        following = shrink(torch.addmm(drift, advance, ahead), threshold)
        t, before = (1.0 + math.sqrt(1.0 + 4.0 * t * t)) / 2.0, t
        ahead = torch.lerp(current, following, 1.0 + (before - 1.0) / t)
        current = following
    return current


def _move_atoms(atoms: Tensor, usage: Tensor, target: Tensor) -> None:
    """One round of block coordinate descent over the atoms (m, r), in place: usage is A·Aᵀ, target A·X."""
    used = usage.diagonal()
    enough = used > 1e-8 * used.amax()
    for j in range(len(atoms)):
        moved = atoms[j] + (target[j] - usage[j] @ atoms) / used[j]
        length = moved.norm()
        atoms[j] = torch.where(enough[j] & (length > 0.0), moved / length, atoms[j])
