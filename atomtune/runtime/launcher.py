"""Which process of a launch this is, as torchrun, accelerate and MPI tell their processes in environment variables."""

import os

_LAUNCHERS = (
    ("RANK", "WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
)

VARIABLES = (*(name for pair in _LAUNCHERS for name in pair), "LOCAL_RANK", "LOCAL_WORLD_SIZE")


def process_index() -> int:
    """This process's number among those of its launch; 0 for a process on its own.

    Without a number of processes above 1 beside it, a rank was left over in the environment and counts for nothing.
    """
    for rank, size in _LAUNCHERS:
        if _number(size, 1) > 1:
            return _number(rank, 0)
    return 0


def is_distributed() -> bool:
    """Whether several processes were launched together."""
    return any(_number(size, 1) > 1 for _, size in _LAUNCHERS)


def _number(name: str, otherwise: int) -> int:
    try:
        return int(os.environ.get(name, otherwise))
    except ValueError:
        return otherwise
