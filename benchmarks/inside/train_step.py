"""A step of each way of training, one after the other in this process."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from atomtune.training.cuda_graph import WARM_UP

from . import clock
from .concepts import PRESET, RANK
from .trainings import Training, Trainings, add_options, conditions, give_back, note, trainings_of

PEERS = ["peft", "peft on attention"]
ROOM = 30e9
"""Bytes of a device with which full fine-tuning, in float32 with AdamW's moments, is measured too."""


@dataclass(frozen=True)
class Way:
    """A row of the table; `key` and `against` as in `benchmarks.compared`; the mean of `steps` is what is timed."""

    what: str
    make: Callable[[], Training]
    key: str | None = None
    against: tuple[str, ...] = tuple(PEERS)
    about: str = ""
    traced: bool = False
    steps: int = 1


def ways(trainings: Trainings, preserve: float = 0.0) -> list[Way]:
    """The rows, in the order in which they are shown; with a weight `preserve`, some with preservation."""
    device = trainings.device
    on_cuda = device.type == "cuda"
    how = "recorded as a CUDA graph" if on_cuda else ""
    lora = f"LoRA of rank {RANK}"
    rows = [Way("ours", trainings.ours, about=how, traced=True)]
    if preserve:
        rows += [
            Way("ours, with preservation", lambda: trainings.ours(preserve=preserve), about=how),
            Way(
                "ours, with preservation on every second step",
                lambda: trainings.ours(preserve=preserve, preserve_every=2),
                about=f"two steps; {how}".removesuffix("; "),
                steps=2,
            ),
        ]
    if on_cuda:
        rows.append(Way("ours, operation by operation", lambda: trainings.ours(cuda_graph=False)))
    rows.append(Way("ours by autograd alone", lambda: trainings.ours(by_autograd=True, cuda_graph=False)))
    if device.type == "cpu" and platform.libc_ver()[0] == "glibc":  # how much of the difference is the allocator's
        kept = f"{lora} on the same layers, peft, with our allocator"
        rows.append(Way(kept, lambda: trainings.peft("all", keep_freed=True)))
    rows += [
        Way(f"{lora} on the same layers, peft", lambda: trainings.peft("all"), PEERS[0], ()),
        Way(f"{lora} on attention, peft", lambda: trainings.peft("attention"), PEERS[1], ()),
    ]
    if on_cuda and torch.cuda.mem_get_info(device)[0] >= ROOM:
        rows.append(Way("full fine-tuning", trainings.full, about=how))
    return rows


def measure(way: Way, device: torch.device, times: int, profile: Path | None) -> dict[str, Any]:
    """A row. The training is gone when this returns."""
    training = way.make()
    first = training.step()
    if device.type == "cuda":
        for _ in range(WARM_UP * way.steps):  # kernels are chosen, then the steps are recorded
            training.step()

    def timed() -> None:
        for _ in range(way.steps):
            training.step()

    seconds = clock.median(timed, device, times) / way.steps
    if way.traced and profile is not None:
        clock.trace(training.step, device, profile / "train_step.json")
    more = {"key": way.key} if way.key is not None else {}
    told = note(training, first, f"; {way.about}" if way.about else "")
    return clock.row(way.what, seconds, told, against=list(way.against), loss=first, **more)


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print it."""
    options = clock.parser("benchmarks.inside.train_step", __doc__)
    add_options(options, None)
    options.add_argument("--times", type=int)
    options.add_argument("--preserve", type=float, default=0.0)
    given = options.parse_args(arguments)
    trainings = trainings_of(given)
    times = given.times or (50 if given.device.type == "cuda" else 5)
    rows = {}
    shown = ways(trainings, given.preserve)
    # the peers first: ours set the C library's allocator for good, as `train` does, and the peers are to run without it
    for way in sorted(shown, key=lambda way: way.key is None):
        rows[way.what] = measure(way, given.device, times, given.profile)
        give_back(given.device)
    return clock.give(
        {
            "device": str(given.device),
            "threads": torch.get_num_threads(),
            "conditions": [*conditions(trainings), f"preset {PRESET}", f"median of {times} steps"],
            "rows": [rows[way.what] for way in shown],
        }
    )


if __name__ == "__main__":
    raise SystemExit(main())
