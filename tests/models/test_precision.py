"""`--precision auto`: which type a device computes in."""

from contextlib import nullcontext

import pytest
import torch

from atomtune.models.base_model import pick_precision
from atomtune.models.options import PRECISIONS


@pytest.mark.parametrize(
    ("capability", "has_bf16", "chosen"),
    [
        ((9, 0), True, "bf16"),
        ((8, 6), True, "bf16"),
        ((7, 5), False, "fp16"),
        ((7, 0), False, "fp16"),
        ((6, 1), False, "fp32"),
    ],
    ids=["H100", "RTX 30", "Turing", "Volta", "Pascal"],
)
def test_a_gpu_computes_in_the_type_it_is_fast_in(
    capability: tuple[int, int], has_bf16: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_bf16_supported(including_emulation: bool = True) -> bool:
        return has_bf16 or including_emulation  # torch's own answer says yes to slow emulation

    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert pick_precision("auto", torch.device("cuda")) == chosen
    assert [pick_precision(asked, torch.device("cuda")) for asked in PRECISIONS[1:]] == list(PRECISIONS[1:])


@pytest.mark.parametrize("kind", ["cpu", "mps"])
def test_others_compute_in_float32(kind: str) -> None:
    assert pick_precision("auto", torch.device(kind)) == "fp32"
    assert pick_precision("bf16", torch.device(kind)) == "bf16"


@pytest.mark.gpu
def test_a_gpu_that_is_here_can_compute_in_it() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device = torch.device("cuda", torch.cuda.device_count() - 1)
    assert pick_precision("auto", device) in PRECISIONS[1:]
    assert pick_precision("auto", torch.device("cuda")) in PRECISIONS[1:]
