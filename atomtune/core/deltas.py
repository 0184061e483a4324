"""Trainable changes of a weight: ΔW from frozen coefficients and trained atoms (paper, equations 6 to 9)."""

import math
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from .decompose import Decomposition
from .layout import by_rows
from .sparse_coding import linear_map
from .updates import AtomUpdate, MatrixUpdate, Update

JITTER = 0.5
"""Spread of the overcomplete mixing weights at the start, relative to their mean 1/m₁."""

_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


class WeightDelta(nn.Module):
    """What every tuning method gives an adapted layer: a change of its weight that is exactly zero before training."""

    def delta_weight(self, weight: Tensor) -> Tensor:
        """ΔW in float32, with the shape of `weight` (the untouched base weight)."""
        raise NotImplementedError

    def update(self) -> Update | None:
        """ΔW in one of the forms of `core.updates`, which train faster; None where it has none of them."""
        return None

    def compact(self) -> None:
        """Hold what is frozen in half the bytes, where nothing is lost by it."""

    def trainable(self) -> dict[str, nn.Parameter]:
        """The trained parameters by name."""
        return dict(self.named_parameters())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # `model.half()` and its like move a delta with its model but leave it in float32
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(move, recurse)


class AtomDelta(WeightDelta):
    """ΔW = α·ΔD: the atoms move, the coefficients stay (paper, equation 6).

    Parameters: `delta_atoms` (m, r), and `delta_coefficients` (N, m) where the coefficients are trained too (the
    paper's C4), in which case ΔW = (α + Δα)(D + ΔD) − αD.

    Where the coefficients are None they are X·P, P (r, m) the `linear_map` of D, and ΔW = X·(P·ΔD): for filters, and
    for tiles and blocks whose dictionary is complete (m ≥ r), without Δα.

    Args:
        decomposition: atoms and coefficients of the layer.
        train_coefficients: train Δα as well; train_atoms: train ΔD, which stays zero otherwise.
        gain: ΔD is `gain` times the parameter, so that one learning rate suits layers of different scale; 1 is the
            paper's parametrisation. The optimiser sees the parameter, files hold ΔD itself.
    """

    def __init__(
        self,
        decomposition: Decomposition,
        *,
        train_coefficients: bool = False,
        train_atoms: bool = True,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.layout = decomposition.layout
        self.gain = gain
        rows, layout = decomposition.coefficients, self.layout
        if rows is None and (train_coefficients or not decomposition.may_follow):
            raise ValueError("tiles of few atoms, and coefficients that are trained, need the coefficients themselves")
        # α·(gain·ΔD) = (gain·α)·ΔD spares a product at each step, where neither α nor D has a part of its own
        self._gain_is_placed = type(self) is AtomDelta and not train_coefficients and rows is not None
        if rows is not None:
            # contiguous, too, because the order of sums follows that of memory, which a file does not keep
            rows = (layout.by_place(rows) if layout.is_filter else rows).contiguous().float()
            rows = rows * gain if self._gain_is_placed else rows
        # α follows from the base weight and D, so neither belongs into a state dict
        self.register_buffer("placed", rows, persistent=False)
        self.register_buffer("linear", linear_map(decomposition.atoms) if rows is None else None, persistent=False)
        self.register_buffer("atoms", decomposition.atoms.contiguous().clone(), persistent=False)
        change = self._zeros(*self._atoms_shape(decomposition))
        if train_atoms:
            self.delta_atoms = nn.Parameter(change)
        else:
            self.register_buffer("delta_atoms", change, persistent=False)
        self.delta_coefficients: nn.Parameter | None = None
        if train_coefficients:
            self.delta_coefficients = nn.Parameter(self._zeros(layout.count, decomposition.atoms.shape[0]))

    placed: Tensor | None
    linear: Tensor | None
    atoms: Tensor
    delta_atoms: Tensor

    @property
    def is_complete(self) -> bool:
        """Whether it is a matrix by which every tile or block is multiplied, see `matrix`."""
        return self.linear is not None and not self.layout.is_filter

    def matrix(self) -> Tensor:
        """P·ΔD, (r, r): ΔW is X times this. Where α is not held."""
        assert self.linear is not None
        return self.linear @ self._change()

    def coefficients(self, weight: Tensor) -> Tensor:
        """α, (N, m), float32, for the base weight: what is held has another order, and may have the gain in it."""
        if self.placed is None:
            assert self.linear is not None
            return self.layout.to_rows(weight.float()) @ self.linear
        rows = by_rows(self.placed) if self.layout.is_filter else self.placed
        return (rows.float() / self.gain) if self._gain_is_placed else rows.float()

    def compact(self) -> None:
        """See `WeightDelta.compact`: α in float16, in which decompositions have it."""
        if self.placed is None or self.placed.dtype == torch.float16:
            return
        if self._gain_is_placed:
            self.placed, self._gain_is_placed = self.placed / self.gain, False
        self.placed = self.placed.half()

    def delta_weight(self, weight: Tensor) -> Tensor:
        """ΔW in float32, (weight shape)."""
        return self.update().delta_weight(weight)

    def update(self) -> Update:
        """See `WeightDelta.update`."""
        if self.placed is None:
            return MatrixUpdate(self.layout, (self.matrix(),))
        extra = None if self.delta_coefficients is None else self.layout.by_place(self.delta_coefficients)
        placed = self.placed if self.layout.is_filter else self.layout.by_place(self.placed)
        return AtomUpdate(self.layout, (self._change(), extra), placed, self.atoms)

    def _change(self) -> Tensor:
        """D' − D, (m, r), or (c_in, m, r) where every input channel has its own; over the gain where α has that."""
        return self.delta_atoms if self._gain_is_placed else self.gain * self.delta_atoms

    def _atoms_shape(self, decomposition: Decomposition) -> tuple[int, ...]:
        return tuple(decomposition.atoms.shape)

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(*shape, dtype=torch.float32)


class OvercompleteDelta(AtomDelta):
    """Each atom becomes a mix of m₁ atoms, with its own mix for every input channel (paper, equations 7 to 9).

    D'[c,i] = Σⱼ β[c,i,j]·D₁[i,j] and W' = W + α·(D' − D) by channel. Filters only. Parameters: `delta_atoms` (m, m₁, r)
    on top of D₁[i,j] = D[i], and `delta_mixing` (c_in/groups, m, m₁) on top of `mixing`, whose sum over j is 1.

    The start is *not* β = 1/m₁: the m₁ copies would get equal gradients for ever. `mixing` departs from it by a cosine
    over j whose phase differs by channel and atom; that sums to zero over j and needs neither seed nor place in a file.
    With Σⱼ β₀ = 1 the change is D' − D = Σⱼ β·ΔD₁ + D·Σⱼ Δβ, which is zero at the start to the last bit.
    """

    def __init__(
        self,
        decomposition: Decomposition,
        *,
        overcomplete: int,
        train_coefficients: bool = False,
        gain: float = 1.0,
    ) -> None:
        _check_overcomplete(decomposition, overcomplete)
        self.overcomplete = overcomplete
        super().__init__(decomposition, train_coefficients=train_coefficients, gain=gain)
        channels, count = self.layout.shape[1], decomposition.atoms.shape[0]
        self.register_buffer("mixing", starting_mix(channels, count, overcomplete), persistent=False)
        self.delta_mixing = nn.Parameter(self._zeros(channels, count, overcomplete))

    mixing: Tensor

    def _change(self) -> Tensor:
        """D' − D by input channel, (c_in/groups, m, r)."""
        mixed = torch.einsum("cij,ijr->cir", self.mixing + self.delta_mixing, self.gain * self.delta_atoms)
        return mixed + self.delta_mixing.sum(dim=2).unsqueeze(2) * self.atoms

    def _atoms_shape(self, decomposition: Decomposition) -> tuple[int, ...]:
        count, length = decomposition.atoms.shape
        return (count, self.overcomplete, length)


class RandomMixDelta(AtomDelta):
    """Overcomplete atoms as the earlier version of the paper and its code start them: W' = W + α·Σⱼ β[c,i,j]·ΔD₁[i,j].

    Filters only. Parameters: `delta_atoms`, ΔD₁, (m, m₁, r), which starts at zero, and `mixing`, β itself, which starts
    at random. Only ΔD₁ learns from the first step, β from the second.

    Args:
        mixing: β at the start, (c_in/groups, m, m₁), as `random_mix` gives it.
    """

    def __init__(
        self,
        decomposition: Decomposition,
        mixing: Tensor,
        *,
        train_coefficients: bool = False,
        gain: float = 1.0,
    ) -> None:
        _check_overcomplete(decomposition, mixing.shape[-1])
        self.overcomplete = mixing.shape[-1]
        super().__init__(decomposition, train_coefficients=train_coefficients, gain=gain)
        self.mixing = nn.Parameter(mixing.float().clone())

    def _change(self) -> Tensor:
        """D' − D by input channel, (c_in/groups, m, r)."""
        return torch.einsum("cij,ijr->cir", self.mixing, self.gain * self.delta_atoms)

    def _atoms_shape(self, decomposition: Decomposition) -> tuple[int, ...]:
        count, length = decomposition.atoms.shape
        return (count, self.overcomplete, length)


def _check_overcomplete(decomposition: Decomposition, overcomplete: int) -> None:
    if not decomposition.layout.is_filter:
        raise ValueError("overcomplete atoms are defined for filters, not for tiles")
    if overcomplete < 2:
        raise ValueError(f"an overcomplete set needs at least 2 atoms for each, got {overcomplete}")


def random_mix(channels: int, atoms: int, overcomplete: int, generator: torch.Generator) -> Tensor:
    """β at the start of a `RandomMixDelta`, (channels, atoms, overcomplete): normal, of standard deviation 1/m₁.

    So it is of the size of `starting_mix`, and a step of ΔD₁ moves a weight about as far.
    """
    return torch.randn(channels, atoms, overcomplete, generator=generator) / overcomplete


def starting_mix(channels: int, atoms: int, overcomplete: int) -> Tensor:
    """β₀ (channels, atoms, overcomplete): mean 1/m₁ with a jitter that sums to zero over the last axis."""
    place = torch.arange(channels * atoms, dtype=torch.float64).view(channels, atoms, 1)
    turn = torch.arange(overcomplete, dtype=torch.float64) / overcomplete
    wave = torch.cos(2.0 * math.pi * (turn + (place + 1.0) * _GOLDEN % 1.0))
    return ((1.0 + JITTER * wave) / overcomplete).float()
