"""Out of memory: how much there was, and what needs less."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ..errors import AtomtuneError

_WORDS = ("out of memory", "can't allocate memory")  # of CUDA's and Metal's drivers, of torch's allocator on the CPU


@dataclass(frozen=True)
class DeviceMemory:
    """Of a GPU, in bytes: all of it, and the most that torch's tensors took at one time."""

    name: str
    total: int
    peak: int


@contextmanager
def explained_shortage(doing: str, hint: Callable[[], str]) -> Iterator[None]:
    """Turn running out of memory, on whatever device, into an AtomtuneError; `hint` is asked for only then."""
    try:
        yield
    except (RuntimeError, MemoryError) as problem:
        if not is_shortage(problem):
            raise
        raise shortage(doing, current_memory(), hint()) from problem


def is_shortage(problem: BaseException) -> bool:
    """True where an exception says that memory ran out. Not every device has a type of exception for it."""
    if isinstance(problem, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(problem, RuntimeError) and any(words in str(problem) for words in _WORDS)


def current_memory() -> DeviceMemory | None:
    """Of the GPU in use; None where none is."""
    if not torch.cuda.is_initialized():
        return None
    device = torch.cuda.current_device()
    properties = torch.cuda.get_device_properties(device)
    return DeviceMemory(properties.name, properties.total_memory, torch.cuda.max_memory_allocated(device))


def shortage(doing: str, memory: DeviceMemory | None, hint: str) -> AtomtuneError:
    """The error: `doing` is "training" or "sampling"."""
    message = f"out of memory while {doing}"
    if memory is not None:
        message += f": at most {memory.peak / 1e9:.1f} GB in use, {memory.name} has {memory.total / 1e9:.1f} GB"
    return AtomtuneError(message, hint)


def training_remedies(
    batch_size: int, grad_accum: int, checkpointing: bool, low_memory: bool, precision: str, side: int
) -> list[str]:
    """What a run can still do to need less, the cheapest first."""
    remedies = []
    if batch_size > 1:
        remedies.append(f"--batch-size 1 --grad-accum {batch_size * grad_accum} (the same result)")
    if not checkpointing and not low_memory:
        remedies.append("--gradient-checkpointing")
    if precision == "fp32":
        remedies.append("--precision bf16 or fp16")
    if not low_memory:
        remedies.append("--low-memory")
    return [*remedies, f"a --resolution below {side}" if side else "a lower --resolution"]


def sampling_remedies(batch_size: int, precision: str, size: tuple[int, int] | None) -> list[str]:
    """What drawing can still do to need less, the cheapest first."""
    remedies = ["--batch-size 1 (the same images)"] if batch_size > 1 else []
    if precision == "fp32":
        remedies.append("--precision bf16 or fp16")
    return [*remedies, f"a --size below {size[0]}x{size[1]}" if size else "a lower --size"]


def in_order(remedies: Sequence[str]) -> str:
    """Remedies as a hint."""
    return f"try, in this order: {', '.join(remedies)}" if len(remedies) > 1 else f"try {remedies[0]}"
