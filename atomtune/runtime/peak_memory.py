"""The most memory that this process has held."""

import sys
from pathlib import Path

import torch


def peak_memory() -> int | None:
    """The most memory that this process has held since its program began, in bytes; None where that is not known."""
    status = Path("/proc/self/status")
    if status.is_file():
        # what getrusage says begins with the parent's, as a fork is measured before its program begins
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def gpu_peak() -> int | None:
    """The most that this process's tensors took on the GPU, in bytes; None where none is in use."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else None
