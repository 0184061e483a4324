"""The choice of a checkpoint."""

import pytest

from atomtune.evaluation.checkpoint_selection import Candidate, pareto_front, select, worth
from atomtune.evaluation.measure import Measures

BASE = Measures(n=8, references=5, fidelity=0.5, diversity=5.0, alignment=0.30)
REAL = 0.9


def measures(fidelity: float, diversity: float = 5.0, alignment: float = 0.30) -> Measures:
    return Measures(n=8, references=5, fidelity=fidelity, diversity=diversity, alignment=alignment)


def test_the_front_holds_what_nothing_beats() -> None:
    points = [(1.0, 0.0), (0.5, 0.5), (0.4, 0.5), (0.0, 1.0), (0.0, 1.0)]
    assert pareto_front(points) == [0, 1, 3, 4]
    assert pareto_front([(0.2, 0.2)]) == [0]
    assert pareto_front([]) == []


def test_worth_runs_from_nothing_to_one() -> None:
    assert worth(BASE, BASE, REAL) == 0.0
    assert worth(measures(REAL), BASE, REAL) == pytest.approx(1.0)
    assert worth(measures(0.95, diversity=6.0, alignment=0.4), BASE, REAL) == pytest.approx(1.0), "shares are cut to 1"
    assert worth(measures(0.7), BASE, REAL) == pytest.approx(0.5 ** (1 / 3))
    assert worth(measures(REAL, diversity=1.0), BASE, REAL) == 0.0, "one image again and again is worth nothing"
    assert worth(measures(REAL, alignment=0.15), BASE, REAL) == pytest.approx(0.5 ** (1 / 3))


def test_measures_that_are_not_known_are_left_out() -> None:
    base = Measures(n=8, references=5, fidelity=0.5, diversity=5.0)
    half = Measures(n=8, references=5, fidelity=0.7, diversity=5.0)
    assert worth(half, base, REAL) == pytest.approx(0.5**0.5)
    assert select([Candidate(1, half)], base, REAL).step == 1


def test_the_compromise_is_chosen_and_explained() -> None:
    """Fidelity rises while the rest falls apart: neither the first nor the last is it."""
    candidates = [
        Candidate(100, measures(0.60)),
        Candidate(200, measures(0.80, diversity=4.8, alignment=0.29)),
        Candidate(300, measures(0.86, diversity=2.5, alignment=0.22)),
        Candidate(400, measures(0.90, diversity=1.2, alignment=0.15)),
        Candidate(500, measures(0.89, diversity=1.1, alignment=0.14)),
    ]
    chosen = select(candidates, BASE, REAL)
    assert chosen.step == 200
    assert chosen.front == (100, 200, 300, 400), "step 500 is beaten by 400 in everything"
    assert chosen.worth[200] == max(chosen.worth.values())
    assert "fidelity 0.800" in chosen.reason
    assert "diversity 4.80 of 5.00" in chosen.reason


def test_of_equals_the_earliest() -> None:
    assert select([Candidate(200, measures(0.8)), Candidate(100, measures(0.8))], BASE, REAL).step == 100
    with pytest.raises(ValueError, match="nothing to choose"):
        select([], BASE, REAL)
