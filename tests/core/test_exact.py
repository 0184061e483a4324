"""Coefficients do not depend on what a program has chosen for its own products."""

from collections.abc import Callable

import pytest
import torch

from atomtune.core.decompose import decompose, encode_weight
from atomtune.core.exact import exactly

CPU = torch.device("cpu")


def settings() -> tuple[str, ...]:
    places = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    return (torch.get_float32_matmul_precision(), *(place.fp32_precision for place in places))


@pytest.mark.parametrize("chosen", ["highest", "high", "medium"])
def test_the_programs_choice_comes_back(chosen: str) -> None:
    torch.set_float32_matmul_precision(chosen)
    try:
        before = settings()
        with exactly(CPU):
            assert settings()[1:] == ("ieee", "ieee")
        assert settings() == before
        with pytest.raises(KeyError), exactly(CPU):
            raise KeyError
        assert settings() == before
    finally:
        torch.set_float32_matmul_precision("highest")


def test_products_stay_float32_under_autocast() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(8, 8, generator=generator), torch.randn(8, 8, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        assert (a @ b).dtype == torch.bfloat16
        with exactly(CPU):
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
