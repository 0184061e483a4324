"""accelerate for one run: its global state and the environment variables that it reads, kept apart from the rest."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import UsageError
from ..runtime.launcher import VARIABLES, is_distributed, process_index

_UNSUPPORTED = (
    "ACCELERATE_USE_DEEPSPEED",
    "ACCELERATE_USE_FSDP",
    "ACCELERATE_USE_MEGATRON_LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG",
)


@contextmanager
def own_accelerate_state() -> Iterator[None]:
    """Within the context accelerate, whose state is global, knows of no other run; afterwards it is as it was before.

    So a process can train several times with other options, and between the steps of a script that uses accelerate.
    """
    from accelerate.state import AcceleratorState, GradientState, PartialState

    states: list[dict[str, Any]] = [kind._shared_state for kind in (PartialState, AcceleratorState, GradientState)]
    before = [dict(state) for state in states]
    for state in states:
        state.clear()
    try:
        yield
    finally:
        for state, values in zip(states, before, strict=True):
            state.clear()
            state.update(values)


@contextmanager
def launch_environment() -> Iterator[None]:
    """Within the context the environment tells accelerate how processes were launched together, and nothing else.

    What a run does comes from its options, never from variables such as ACCELERATE_GRADIENT_ACCUMULATION_STEPS, which
    would scale every gradient. Ranks that no number of processes goes with were left over and are hidden.

    Raises UsageError where a launcher asks for what training here cannot do.
    """
    if asked := [name for name in _UNSUPPORTED if os.environ.get(name, "").lower() == "true"]:
        raise UsageError(
            f"{asked[0]} is set, but train knows plain data parallelism only",
            f"unset {asked[0]}, or choose accelerate launch without it",
        )
    hidden = [name for name in os.environ if name.startswith("ACCELERATE_")]
    if not is_distributed():
        hidden += [name for name in VARIABLES if name in os.environ]
    before = {name: os.environ.pop(name) for name in hidden}
    try:
        yield
    finally:
        os.environ.update(before)


def check_launch(accelerator: Any) -> None:
    """Raise UsageError where the environment says that this process is one of several, and accelerate found it alone.

    Such a process does not hold the lock of the run's folder, see `run_lock`.
    """
    if process_index() != 0 and accelerator.num_processes == 1:
        raise UsageError(
            f"the environment says that this is process {process_index()} of a launch, but it would train alone",
            "start all of them with accelerate launch, or unset RANK, WORLD_SIZE and the like",
        )
