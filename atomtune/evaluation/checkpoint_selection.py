"""Which checkpoint to keep: what is on the Pareto front, and which of these is the best compromise."""

from collections.abc import Sequence
from dataclasses import dataclass

from .measure import Measures


@dataclass(frozen=True)
class Candidate:
    """A checkpoint (or a scale) and what it scores."""

    step: int
    measures: Measures


@dataclass(frozen=True)
class Selection:
    """The choice among candidates.

    Attributes:
        step: of the chosen one.
        front: steps that no other candidate beats in fidelity, diversity and alignment at once.
        worth: by step, how well the concept was learned times what was kept, see `worth`.
        reason: a sentence with the figures.
    """

    step: int
    front: tuple[int, ...]
    worth: dict[int, float]
    reason: str


def pareto_front(points: Sequence[Sequence[float]]) -> list[int]:
    """Indices of the points that no other point equals or beats everywhere and beats somewhere (more is better)."""

    def beats(a: Sequence[float], b: Sequence[float]) -> bool:
        return all(x >= y for x, y in zip(a, b, strict=True)) and any(x > y for x, y in zip(a, b, strict=True))

    return [i for i, point in enumerate(points) if not any(beats(other, point) for other in points)]


def worth(measures: Measures, base: Measures, real: float) -> float:
    """How good a compromise is: the geometric mean of three shares, each between 0 and 1.

    How far fidelity has come from the base model's to that of real images of the concept (`real`), and how much of
    the base model's alignment and diversity is left. Any of them at nothing makes it nothing.
    """
    assert measures.fidelity is not None
    assert base.fidelity is not None
    learned = (measures.fidelity - base.fidelity) / max(real - base.fidelity, 1e-6)
    # a Vendi score of 1 is no variety at all
    left = (kept_share(measures.alignment, base.alignment), kept_share(measures.diversity, base.diversity, nothing=1.0))
    shares = [learned, *(share for share in left if share is not None)]
    product = 1.0
    for share in shares:
        product *= min(1.0, max(0.0, share))
    return float(product ** (1 / len(shares)))


def select(candidates: Sequence[Candidate], base: Measures, real: float) -> Selection:
    """Choose the candidate of greatest worth on the Pareto front; of equals, the earliest.

    Raises ValueError without candidates.
    """
    if not candidates:
        raise ValueError("there is nothing to choose from")
    points = [
        [value for value in (c.measures.fidelity, c.measures.diversity, c.measures.alignment) if value is not None]
        for c in candidates
    ]
    front = pareto_front(points)
    values = {candidate.step: worth(candidate.measures, base, real) for candidate in candidates}
    best = max((candidates[i] for i in front), key=lambda candidate: (values[candidate.step], -candidate.step))
    fidelity = best.measures.fidelity or 0.0
    reason = f"step {best.step}: fidelity {fidelity:.3f} (base model {base.fidelity or 0:.3f}, real images {real:.3f})"
    if best.measures.alignment is not None and base.alignment is not None:
        reason += f", alignment {best.measures.alignment:.3f} of the base model's {base.alignment:.3f}"
    if best.measures.diversity is not None and base.diversity is not None:
        reason += f", diversity {best.measures.diversity:.2f} of {base.diversity:.2f}"
    return Selection(best.step, tuple(candidates[i].step for i in front), values, reason)


def kept_share(value: float | None, base: float | None, nothing: float = 0.0) -> float | None:
    """How much of the base model's value is left, counted from what is `nothing`; None where that cannot be said."""
    if value is None or base is None or base == nothing:
        return None
    return (value - nothing) / (base - nothing)
