"""glibc's malloc: keep freed memory in the process between training steps."""

import ctypes
import sys

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h
_NEVER = 2**30


def keep_freed_memory() -> bool:
    """Make malloc keep freed memory instead of returning it to the system; False where malloc is not glibc's.

    By default glibc maps every tensor of more than some megabytes anew and unmaps it when it is freed, and the system
    clears each page at its first use: on two cores that takes a fifth of a training step of Stable Diffusion. The peak
    is the same. The setting lasts as long as the process.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl has none
        return False
    # the limit for single allocations first: setting either stops glibc from moving it
    return bool(mallopt(_MMAP_THRESHOLD, _NEVER)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
