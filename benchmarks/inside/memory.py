"""A few steps of one way of training, so that this process's peak memory is its."""

from typing import Any

import torch

from atomtune.training.cuda_graph import WARM_UP

from . import clock
from .concepts import PRESET, RANK
from .trainings import Training, Trainings, add_options, conditions, note, trainings_of

STEPS = 2
PEERS = ["peft", "peft on attention"]
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "ours": ("ours", {"against": PEERS}),
    "low-memory": ("ours, low memory", {"against": PEERS}),
    "peft": (f"LoRA of rank {RANK} on the same layers, peft", {"key": PEERS[0]}),
    "peft-attention": (f"LoRA of rank {RANK} on attention, peft", {"key": PEERS[1]}),
}
"""The line of each variant."""


def make(trainings: Trainings, variant: str) -> Training:
    """The training of a variant."""
    if variant.startswith("peft"):
        return trainings.peft("attention" if variant == "peft-attention" else "all")
    return trainings.ours(low_memory=variant == "low-memory")


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print it."""
    options = clock.parser("benchmarks.inside.memory", __doc__)
    add_options(options, 512)
    options.add_argument("--variant", choices=ROWS, required=True)
    given = options.parse_args(arguments)
    device, trainings = given.device, trainings_of(given)
    training = make(trainings, given.variant)
    # on CUDA until the steps are recorded, and one of these
    steps = STEPS if device.type == "cpu" else WARM_UP + STEPS
    first = training.step()
    for _ in range(steps - 2):
        training.step()
    seconds, _ = clock.timed(training.step, device)
    what, more = ROWS[given.variant]
    told = ""
    if device.type == "cuda":
        more = {**more, "peak_bytes": torch.cuda.max_memory_allocated(device)}
        more["reserved_bytes"] = torch.cuda.max_memory_reserved(device)
        told = f"; {more['reserved_bytes'] / 1e9:.2f} GB taken of the device"
    if given.profile is not None:
        clock.trace(training.step, device, given.profile / f"memory-{given.variant}.json")
    return clock.give(
        {
            "device": str(device),
            "threads": torch.get_num_threads(),
            "conditions": [*conditions(trainings), f"preset {PRESET}", f"{steps} steps"],
            "rows": [clock.row(what, seconds, note(training, first, told), loss=first, **more)],
        }
    )


if __name__ == "__main__":
    raise SystemExit(main())
