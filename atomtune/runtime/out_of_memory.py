"""Out of memory as an error with figures, and with a hint of the options that need less."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ..errors import AtomtuneError

_WORDS = ("out of memory", "can't allocate memory")  # of CUDA's and Metal's drivers, of torch's allocator on the CPU


@dataclass(frozen=True)
class DeviceMemory:
    """Memory of a GPU in bytes: its total, and the peak of torch's tensors."""

    name: str
    total: int
    peak: int


@contextmanager
def as_out_of_memory_error(doing: str, hint: Callable[[], str]) -> Iterator[None]:
    """A context that turns running out of memory, on any device, into an AtomtuneError; `hint` is called only then."""
    try:
        yield
    except (RuntimeError, MemoryError) as problem:
        if not is_out_of_memory(problem):
            raise
        raise out_of_memory_error(doing, current_memory(), hint()) from problem


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether an exception says that memory ran out. Not every device has an exception type for it."""
    if isinstance(problem, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(problem, RuntimeError) and any(words in str(problem) for words in _WORDS)


def current_memory() -> DeviceMemory | None:
    """Memory of the GPU in use; None without one."""
    if not torch.cuda.is_initialized():
        return None
    device = torch.cuda.current_device()
    properties = torch.cuda.get_device_properties(device)
    return DeviceMemory(properties.name, properties.total_memory, torch.cuda.max_memory_allocated(device))


def out_of_memory_error(doing: str, memory: DeviceMemory | None, hint: str) -> AtomtuneError:
    """The error: `doing` is "training" or "sampling"."""
    message = f"out of memory while {doing}"
    if memory is not None:
        message += f": at most {memory.peak / 1e9:.1f} GB in use, {memory.name} has {memory.total / 1e9:.1f} GB"
    return AtomtuneError(message, hint)


def training_memory_hints(
    batch_size: int, grad_accum: int, checkpointing: bool, low_memory: bool, precision: str, side: int
) -> list[str]:
    """Options with which training needs less memory, the cheapest first."""
    options = []
    if batch_size > 1:
        options.append(f"--batch-size 1 --grad-accum {batch_size * grad_accum} (the same result)")
    if not checkpointing and not low_memory:
        options.append("--gradient-checkpointing")
    if precision == "fp32":
        options.append("--precision bf16 or fp16")
    if not low_memory:
        options.append("--low-memory")
    return [*options, f"a --resolution below {side}" if side else "a lower --resolution"]


def sampling_memory_hints(batch_size: int, precision: str, size: tuple[int, int] | None) -> list[str]:
    """Options with which sampling needs less memory, the cheapest first."""
    options = ["--batch-size 1 (the same images)"] if batch_size > 1 else []
    if precision == "fp32":
        options.append("--precision bf16 or fp16")
    return [*options, f"a --size below {size[0]}x{size[1]}" if size else "a lower --size"]


def in_order(options: Sequence[str]) -> str:
    """Options, in this order, as a hint."""
    return f"try, in this order: {', '.join(options)}" if len(options) > 1 else f"try {options[0]}"
