"""Embeddings of many things, batch by batch."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from ...core.precision import all_finite
from ...errors import AtomtuneError

T = TypeVar("T")


def unit_rows(name: str, encode: Callable[[Sequence[T]], Tensor], items: Sequence[T], batch: int, width: int) -> Tensor:
    """What `encode` makes of the items, `batch` at a time: (n, width), float32, on the CPU, rows of norm one.

    Whatever the batches, a row is the same but for rounding: nothing is computed in less than float32.

    Args:
        name: of the encoder, for the message.
        encode: gives one row for each of its items, on any device.

    Raises:
        AtomtuneError: where a row is zero or not finite.
        ValueError: for batches of less than one.
    """
    if batch < 1:
        raise ValueError(f"a batch has at least one item, not {batch}")
    parts = [torch.empty(0, width)]
    # convolutions on CUDA round to ten bits by default
    exactly = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    with torch.inference_mode(), exactly:
        for first in range(0, len(items), batch):
            rows = encode(items[first : first + batch]).cpu().double()
            norms = rows.norm(dim=1, keepdim=True)
            if not (all_finite(norms) and bool((norms > 0).all())):
                raise AtomtuneError(
                    f"the encoder {name} gives no direction for an image or text (zero, or not finite)",
                    "its weights may be damaged: fetch them again, and try --device cpu",
                )
            parts.append((rows / norms).float())
    return torch.cat(parts)
