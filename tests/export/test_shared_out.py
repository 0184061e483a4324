"""How the rank of a LoRA is shared out between its layers."""

import torch

from atomtune.export.factors import Factors, Layer
from atomtune.export.rank import shared_out


def layer(gains: list[float] | None, side: int = 8) -> Factors:
    count = 8 if gains is None else len(gains)
    known = None if gains is None else torch.tensor(gains)
    return Factors(torch.ones(side, count), torch.ones(count, side), torch.Size((side, side)), count, known)


def cost(factors: dict[Layer, Factors], ranks: dict[Layer, int]) -> int:
    return sum(rank * factors[name].cost for name, rank in ranks.items())


STRONG, WEAK, WIDE = ("unet", "strong"), ("unet", "weak"), ("unet", "wide")


def test_a_layer_that_loses_more_gets_more_and_all_together_no_more_than_before() -> None:
    factors = {
        STRONG: layer([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0]),
        WEAK: layer([0.5, 0.1, 0.0, 0.0]),
        WIDE: layer([6.5, 0.2], side=16),
    }
    ranks = shared_out(factors, 2)
    assert ranks[STRONG] > 2 > ranks[WEAK]
    assert ranks[WIDE] == 1
    assert cost(factors, ranks) <= cost(factors, dict.fromkeys(factors, 2))
    assert shared_out(factors, 1)[STRONG] <= 4, "four times the rank at most"


def test_where_there_is_room_for_all_of_it_all_of_it_is_kept() -> None:
    factors = {STRONG: layer([3.0, 2.0, 1.0]), WEAK: layer([0.1, 0.01])}
    assert shared_out(factors, 3) == {STRONG: 3, WEAK: 2}


def test_without_a_weight_all_layers_have_the_same() -> None:
    factors = {STRONG: layer(None), WEAK: layer([1.0, 0.5])}
    assert shared_out(factors, 3) == {STRONG: 3, WEAK: 2}
