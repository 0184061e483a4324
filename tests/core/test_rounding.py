"""Rounding for the inputs of a layer."""

import pytest
import torch

from atomtune.core.rounding import rounded_for


def lower(channels: int, mixing: float) -> torch.Tensor:
    """The root of the second moment of inputs that go along with each other."""
    seed = torch.Generator().manual_seed(0)
    inputs = torch.randn(4000, channels, generator=seed) + mixing * torch.randn(4000, 1, generator=seed)
    return torch.linalg.cholesky(inputs.T @ inputs / len(inputs))


@pytest.mark.parametrize("shape", [(7, 100), (5, 100, 3, 3)])
def test_outputs_change_less_than_by_rounding_to_the_nearest(shape: tuple[int, ...]) -> None:
    weight, root = torch.randn(shape, generator=torch.Generator().manual_seed(1)), lower(100, 10.0)
    ours, nearest = rounded_for(weight, root, torch.float16), weight.half().float()
    assert ours.shape == weight.shape
    assert torch.equal(ours, ours.half().float())
    assert (ours - weight).abs().max() < 4 * (nearest - weight).abs().max()

    def seen(error: torch.Tensor) -> float:
        return float(torch.einsum("pct,cd->pdt", error.flatten(1).unflatten(1, (100, -1)), root).norm())

    assert seen(ours - weight) < 0.5 * seen(nearest - weight)


def test_inputs_that_have_nothing_in_common_leave_rounding_to_the_nearest() -> None:
    weight = torch.randn(6, 20, generator=torch.Generator().manual_seed(2))
    assert torch.equal(rounded_for(weight, torch.eye(20), torch.float16), weight.half().float())


def test_what_the_type_holds_stays_as_it_is() -> None:
    weight = torch.randn(6, 80, generator=torch.Generator().manual_seed(3)).half().float()
    assert torch.equal(rounded_for(weight, lower(80, 3.0), torch.float16), weight)
