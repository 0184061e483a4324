"""What it costs to put one concept in the place of another on a pipeline of the size of Stable Diffusion v1.4.

    python -m benchmarks.swap [--device cuda] [--json FILE] [--profile DIR] [--work DIR] [--keep]

Builds the model with random weights, offline, and measures in one process, with the preset C2: the swap for a concept
whose changes are at hand and for one whose file has only been read; peft, which unmerges one LoRA on the same layers
and merges another; the pipeline loaded again. Exits with 1 where a target is missed. Needs 3 GB of disk.
"""

from .compared import Benchmark, Target

WHAT = "swap for a concept worn before, its changes at hand"

BENCHMARK = Benchmark("swap", __doc__, 3_000_000_000, (Target(WHAT, "seconds", 0.05, "cuda"),))

main = BENCHMARK.main

if __name__ == "__main__":
    raise SystemExit(main())
