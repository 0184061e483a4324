"""What merging a concept costs on a pipeline of the size of Stable Diffusion v1.4, with the preset C2.

    python -m benchmarks.merge [--device cuda] [--json FILE] [--profile DIR] [--work DIR] [--keep]

Builds the model with random weights, offline, and measures in one process: an atoms file loaded, encoded and merged; a
LoRA of peft on the same layers loaded and merged; the pipeline loaded again. Exits with 1 where a target is missed.
Needs 3 GB of disk.
"""

from .compared import Benchmark, Target

WHAT = "load an atoms file, encode, merge"

BENCHMARK = Benchmark(
    "merge", __doc__, 3_000_000_000, (Target(WHAT, "seconds", 15), Target(WHAT, "seconds", 0.5, "cuda"))
)

main = BENCHMARK.main

if __name__ == "__main__":
    raise SystemExit(main())
