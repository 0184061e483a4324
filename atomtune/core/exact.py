"""Float32 products that are float32 products, whatever the program around has chosen for its own."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch


@contextmanager
def exactly(device: torch.device) -> Iterator[None]:
    """Within the context nothing is cast to autocast's type, and no product is rounded to TF32 or bfloat16.

    Coefficients that follow from a weight and its atoms have to be the same in a training run, which may use both, and
    in a program that merges.
    """
    places: list[Any] = [torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)]
    # of the two ways in which torch tells it, the older one alone is there before 2.9
    switches = [place for place in places if hasattr(place, "fp32_precision")]
    name, exact = ("fp32_precision", "ieee") if switches else ("allow_tf32", False)
    switches = switches or places[:1]
    before = [getattr(place, name) for place in switches]
    autocast = torch.amp.is_autocast_available(device.type)
    try:
        for place in switches:
            setattr(place, name, exact)
        with torch.autocast(device.type, enabled=False) if autocast else nullcontext():
            yield
    finally:
        for place, value in zip(switches, before, strict=True):
            setattr(place, name, value)
