"""Coefficients do not depend on the program's own precision settings; finite values are told from others."""

from collections.abc import Callable

import pytest
import torch

from atomtune.core.decompose import decompose, encode_weight
from atomtune.core.precision import all_finite, finite_flag, full_precision

CPU = torch.device("cpu")


def settings() -> tuple[str, ...]:
    """The two switches of torch for the precision of products; before 2.9 there is the first one alone."""
    places = torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)
    newer = (place.fp32_precision for place in places if hasattr(place, "fp32_precision"))
    return (torch.get_float32_matmul_precision(), *newer)


@pytest.mark.parametrize("chosen", ["highest", "high", "medium"])
def test_the_programs_choice_comes_back(chosen: str) -> None:
    torch.set_float32_matmul_precision(chosen)
    try:
        before = settings()
        with full_precision(CPU):
            older, *newer = settings()
            assert newer == ["ieee", "ieee"] if newer else older == "highest"
        assert settings() == before
        with pytest.raises(KeyError), full_precision(CPU):
            raise KeyError
        assert settings() == before
    finally:
        torch.set_float32_matmul_precision("highest")


def test_products_stay_float32_under_autocast() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(8, 8, generator=generator), torch.randn(8, 8, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        assert (a @ b).dtype == torch.bfloat16
        with full_precision(CPU):
            assert (a @ b).dtype == torch.float32


@pytest.mark.parametrize("call", ["decompose", "encode"])
def test_autocast_changes_no_coefficient(call: str) -> None:
    weight = 0.02 * torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    part = decompose(weight, 6, 4, 0.05)
    calls: dict[str, Callable[[], torch.Tensor]] = {
        "decompose": lambda: decompose(weight, 6, 4, 0.05).coefficients,
        "encode": lambda: encode_weight(weight, part.layout, part.atoms, 0.05),
    }
    expected = calls[call]()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(calls[call](), expected)


@pytest.mark.gpu
def test_tf32_changes_no_coefficient() -> None:
    weight = 0.02 * torch.randn(256, 256, 3, 3, generator=torch.Generator().manual_seed(0)).cuda()
    part = decompose(weight, 6, 4, 0.05)
    torch.set_float32_matmul_precision("high")
    try:
        found = encode_weight(weight, part.layout, part.atoms, 0.05)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(found, part.coefficients)


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
