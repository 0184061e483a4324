"""The peer of the decomposition: the textbook's solver, which learns codes and dictionary by turns of gradient steps.

Our own, after the paper's description of its method (section 3.1: sparse coding solved by ISTA, each dictionary by
gradient steps), for comparison only: from random unit atoms and codes of zero, a gradient step and a soft threshold on
all codes of the layer, then a gradient step on the atoms and their norms set to 1. Both steps are as long as their
Lipschitz constants allow.
"""

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from atomtune.core.sparse_coding import shrink

LOOK_EVERY = 5
"""Turns between two looks at the objective, whose time does not count."""


@dataclass(frozen=True)
class Textbook:
    """How far it came.

    Attributes:
        seconds: without those spent on looking; turns: of codes and atoms.
        objective: ½‖X − αD‖² + λ‖α‖₁ at the end.
        reached: whether that is the goal.
    """

    seconds: float
    turns: int
    objective: float
    reached: bool


def objective(rows: Tensor, atoms: Tensor, codes: Tensor, penalty: float) -> float:
    """½‖X − αD‖² + λ‖α‖₁ for rows (N, r), atoms (m, r), codes (N, m)."""
    residual = rows.double() - codes.double() @ atoms.double()
    return float(0.5 * residual.square().sum() + penalty * codes.double().abs().sum())


def solve(rows: Tensor, count: int, penalty: float, goal: float, limit: float) -> Textbook:
    """Run it until the objective is `goal`, or for `limit` seconds."""
    generator = torch.Generator().manual_seed(0)
    atoms = torch.randn(count, rows.shape[1], generator=generator).to(rows.device)
    atoms /= atoms.norm(dim=1, keepdim=True)
    codes = rows.new_zeros(len(rows), count)
    seconds, turns = 0.0, 0
    while True:
        began = time.perf_counter()
        for _ in range(LOOK_EVERY):
            step = 1.0 / torch.linalg.matrix_norm(atoms, 2) ** 2
            codes = shrink(codes - step * (codes @ atoms - rows) @ atoms.T, step * penalty)
            step = 1.0 / torch.linalg.matrix_norm(codes.T @ codes, 2).clamp_min(1e-12)
            atoms = atoms - step * codes.T @ (codes @ atoms - rows)
            atoms = atoms / atoms.norm(dim=1, keepdim=True)
        if rows.is_cuda:
            torch.cuda.synchronize(rows.device)
        seconds += time.perf_counter() - began
        turns += LOOK_EVERY
        now = objective(rows, atoms, codes, penalty)
        if now <= goal or seconds >= limit:
            return Textbook(seconds, turns, now, now <= goal)
