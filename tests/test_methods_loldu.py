"""LoLDU's starts of the diagonal and its scale."""

import pytest
import torch

from atomtune.methods import METHODS
from atomtune.methods.loldu import ldu_delta, starting, triangular
from atomtune.methods.specs import STARTS, LoLDUSpec

DIAGONAL = torch.tensor([2.0, 4.0, 6.0]).repeat(4_000)


@pytest.mark.parametrize(
    ("start", "mean", "spread", "largest"),
    [
        ("uniform", 0.0, 2.0 / 3**0.5, 2.0),  # within half of the mean, 4
        ("normal", 4.0, float(DIAGONAL.std(correction=0)), None),
        ("wide-uniform", 0.0, float(DIAGONAL.square().mean().sqrt()), float(DIAGONAL.square().mean().sqrt()) * 3**0.5),
        ("wide-normal", 0.0, float(DIAGONAL.square().mean().sqrt()), None),
        ("constant", 4.0, 0.0, 4.0),
        ("zeros", 0.0, 0.0, 0.0),
        ("ones", 1.0, 0.0, 1.0),
    ],
)
def test_the_starts_are_what_they_are_called(start: str, mean: float, spread: float, largest: float | None) -> None:
    drawn = starting(DIAGONAL, start, seed=0)
    assert float(drawn.mean()) == pytest.approx(mean, abs=0.15)
    assert float(drawn.std(correction=0)) == pytest.approx(spread, abs=0.1)
    if largest is not None:
        assert float(drawn.abs().max()) == pytest.approx(largest, rel=0.01)
    assert torch.equal(drawn, starting(DIAGONAL, start, seed=0))


def test_files_of_version_0_1_keep_their_noise() -> None:
    old = LoLDUSpec(start="normal").to_dict()
    del old["fixed_scale"]
    assert LoLDUSpec.from_dict(old).start == "wide-normal"
    assert LoLDUSpec.from_dict(old | {"start": "constant"}).start == "constant"
    for start in STARTS:
        assert LoLDUSpec.from_dict(LoLDUSpec(start=start).to_dict()).start == start


def test_without_the_scale_the_diagonal_alone_is_trained() -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 5)
    free = ldu_delta("layer", weight, LoLDUSpec(rank=4, alpha=4))
    fixed = ldu_delta("layer", weight, LoLDUSpec(rank=4, alpha=4, fixed_scale=True))
    assert sorted(free.trainable()) == ["delta_diagonal", "delta_scale"]
    assert sorted(fixed.trainable()) == ["delta_diagonal"]
    moved = torch.tensor([0.1, -0.2, 0.3, 0.0])
    with torch.no_grad():
        fixed.trainable()["delta_diagonal"].copy_(moved)
    lower, _, upper = triangular(weight, 4)
    torch.testing.assert_close(fixed.delta_weight(weight), lower @ torch.diag(moved) @ upper)
    assert METHODS["loldu"].learning_rate == 5e-4
