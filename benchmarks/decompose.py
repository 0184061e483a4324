"""What decomposing a UNet of the size of Stable Diffusion v1.4 costs, with the preset C2.

    python -m benchmarks.decompose [--device cuda] [--json FILE] [--profile DIR] [--work DIR] [--keep]

Builds the model with random weights, offline, its UNet in float32 as on the hub. Measures `atomtune decompose` as a
process, with its peak memory, and `atomtune --help`; then, in one more process with the model in memory, the
decomposition itself, the coefficients for given atoms, and one layer against the textbook's solver (see
`benchmarks/inside/textbook.py`) at an equal objective. Exits with 1 where a target is missed. Needs 6 GB of disk.
"""

import json
import statistics
from pathlib import Path
from typing import Any

from .compared import Benchmark, Target
from .processes import Runner, checked, environment, module

COMMAND = "atomtune decompose, from start to end"
HELP = "atomtune --help"
WHOLE = "decompose all layers, model in memory"
STARTS = 7  # of atomtune --help


def commands(work: Path, run: Runner, device: str) -> list[dict[str, Any]]:
    """Measure the commands; the model is in `work`."""
    around = environment(work)
    starts = [checked("--help", run(module("cli", "--help"), work, around)).seconds for _ in range(STARTS)]
    words = ["decompose", "--model", "model", "--preset", "c2", "--device", device, "--json"]
    done = checked("decompose", run(module("cli", *words), work, around))
    printed = json.loads(done.out)
    note = f"{printed['bytes'] / 1e6:,.1f} MB written; {printed['seconds']:.1f} s of it after the model was loaded"
    return [
        {"what": COMMAND, "seconds": done.seconds, "peak_bytes": done.peak_bytes, "note": note},
        {"what": HELP, "seconds": statistics.median(starts), "note": f"median of {STARTS}, from {min(starts):.3g}"},
    ]


BENCHMARK = Benchmark(
    "decompose",
    __doc__,
    6_000_000_000,
    (
        Target(WHOLE, "seconds", 20),
        Target(COMMAND, "peak_bytes", 6e9),
        Target(HELP, "seconds", 0.3),
        Target(WHOLE, "seconds", 1, "cuda"),
    ),
    build=("--float32",),
    before=commands,
)

main = BENCHMARK.main

if __name__ == "__main__":
    raise SystemExit(main())
