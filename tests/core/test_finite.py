"""Finite values are told from others as by asking each one."""

import pytest
import torch

from atomtune.core.finite import all_finite, finite_flag


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (7, 3), (40, 9, 3, 3)], ids=str)
@pytest.mark.parametrize("value", [0.0, 6e4, float("nan"), float("inf"), float("-inf")])
def test_one_value_among_many(dtype: torch.dtype, shape: tuple[int, ...], value: float) -> None:
    tensor = torch.ones(shape, dtype=dtype)
    assert all_finite(tensor)
    for place in {0, tensor.numel() // 2, tensor.numel() - 1}:
        other = tensor.clone()
        other.view(-1)[place] = value
        assert all_finite(other) == bool(torch.isfinite(other).all())


def test_the_largest_values_are_finite() -> None:
    for dtype in (torch.float16, torch.float32):
        most = torch.finfo(dtype).max
        assert all_finite(torch.full((1000,), most, dtype=dtype))


def test_nothing_is_finite() -> None:
    assert all_finite(torch.empty(0, 3))


def test_a_flag_stays_a_tensor() -> None:
    flags = torch.stack([finite_flag(torch.ones(3)), finite_flag(torch.tensor([1.0, float("inf")]))])
    assert flags.tolist() == [True, False]


def test_parameters_and_views() -> None:
    weight = torch.nn.Parameter(torch.ones(6, 4, 3, 3).to(memory_format=torch.channels_last))
    assert all_finite(weight)
    assert not all_finite((weight.detach() / 0.0).transpose(0, 1)[1:])
