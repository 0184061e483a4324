"""Trainable changes of a weight: ΔW from frozen coefficients and trained atoms (paper, equations 6 to 9)."""

import math
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from .decompose import Decomposition

JITTER = 0.5
"""Spread of the overcomplete mixing weights at the start, relative to their mean 1/m₁."""

_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


class WeightDelta(nn.Module):
    """What every tuning method gives an adapted layer: a change of its weight that is exactly zero before training."""

    def update(self, weight: Tensor) -> Tensor:
        """ΔW in float32, with the shape of `weight` (the untouched base weight)."""
        raise NotImplementedError

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

    Args:
        decomposition: atoms and coefficients of the layer.
        train_coefficients: train Δα as well.
        gain: ΔD is `gain` times the parameter, so that one learning rate suits layers of different scale; 1 is the
            paper's parametrisation. The optimiser sees the parameter, files hold ΔD itself.
    """

    def __init__(self, decomposition: Decomposition, *, train_coefficients: bool = False, gain: float = 1.0) -> None:
        super().__init__()
        self.layout = decomposition.layout
        self.gain = gain
        # α follows from the base weight and D, so neither belongs into a state dict
        self.register_buffer("coefficients", decomposition.coefficients.float(), persistent=False)
        self.register_buffer("atoms", decomposition.atoms.clone(), persistent=False)
        self.delta_atoms = nn.Parameter(self._zeros(*self._atoms_shape(decomposition)))
        self.delta_coefficients: nn.Parameter | None = None
        if train_coefficients:
            self.delta_coefficients = nn.Parameter(self._zeros(*decomposition.coefficients.shape))

    coefficients: Tensor
    atoms: Tensor

    def update(self, weight: Tensor) -> Tensor:
        """ΔW in float32, (weight shape)."""
        coefficients = self.coefficients.float()
        if self.delta_coefficients is None:
            return self._spread(coefficients, self.change_of_atoms())
        moved = coefficients + self.delta_coefficients
        still = self._spread(self.delta_coefficients, self._base_atoms())
        return self._spread(moved, self.change_of_atoms()) + still

    def change_of_atoms(self) -> Tensor:
        """D' − D: (m, r), or (c_in, m, r) where every input channel has its own."""
        return self.gain * self.delta_atoms

    def _base_atoms(self) -> Tensor:
        return self.atoms

    def _spread(self, coefficients: Tensor, change: Tensor) -> Tensor:
        return self.layout.to_weight(coefficients @ change)

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
        if not decomposition.layout.is_filter:
            raise ValueError("overcomplete atoms are defined for filters of more than one tap, not for tiles")
        if overcomplete < 2:
            raise ValueError(f"an overcomplete set needs at least 2 atoms for each, got {overcomplete}")
        self.overcomplete = overcomplete
        super().__init__(decomposition, train_coefficients=train_coefficients, gain=gain)
        channels, count = self.layout.shape[1], decomposition.atoms.shape[0]
        self.register_buffer("mixing", starting_mix(channels, count, overcomplete), persistent=False)
        self.delta_mixing = nn.Parameter(self._zeros(channels, count, overcomplete))

    mixing: Tensor

    def change_of_atoms(self) -> Tensor:
        """D' − D by input channel, (c_in/groups, m, r)."""
        mixed = torch.einsum("cij,ijr->cir", self.mixing + self.delta_mixing, self.gain * self.delta_atoms)
        return mixed + self.delta_mixing.sum(dim=2).unsqueeze(2) * self.atoms

    def _base_atoms(self) -> Tensor:
        return self.atoms.expand(self.layout.shape[1], -1, -1)

    def _spread(self, coefficients: Tensor, change: Tensor) -> Tensor:
        c_out, c_in = self.layout.shape[:2]
        by_channel = coefficients.view(c_out, c_in, -1).transpose(0, 1)
        return self.layout.to_weight(torch.bmm(by_channel, change).transpose(0, 1))

    def _atoms_shape(self, decomposition: Decomposition) -> tuple[int, ...]:
        count, length = decomposition.atoms.shape
        return (count, self.overcomplete, length)


def starting_mix(channels: int, atoms: int, overcomplete: int) -> Tensor:
    """β₀ (channels, atoms, overcomplete): mean 1/m₁ with a jitter that sums to zero over the last axis."""
    place = torch.arange(channels * atoms, dtype=torch.float64).view(channels, atoms, 1)
    turn = torch.arange(overcomplete, dtype=torch.float64) / overcomplete
    wave = torch.cos(2.0 * math.pi * (turn + (place + 1.0) * _GOLDEN % 1.0))
    return ((1.0 + JITTER * wave) / overcomplete).float()
