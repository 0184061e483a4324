"""What training takes of memory on a UNet of the size of Stable Diffusion v1.4, each way in a process of its own.

    python -m benchmarks.memory [--device cuda] [--side N] [--precision bf16] [--json FILE] [--profile DIR]
                                [--work DIR] [--keep]

Builds the model with random weights, offline, decomposes it, and takes a few steps at batch 1 with each of: ours with
the preset C2, ours with low memory, peft's LoRA on the same layers and on those of attention alone (as in
`benchmarks.train_step`). The peak on the CPU is the resident memory of the whole process, from its start: Python, the
UNet being made ready, and the pages of mapped files count, which the system could take back (with low memory, most of
the peak is of these two). On CUDA it is that of torch's tensors, and the note says what torch took of the device.
The seconds are those of the last step. A trace of --profile is made after these steps, but on the CPU its own memory
counts. Exits with 1 where a target is missed. Needs 6 GB of disk and 16 GB of memory.
"""

from pathlib import Path
from typing import Any

from .compared import Benchmark, Target
from .processes import Runner, checked, environment, module

OURS = "ours"
LOW_MEMORY = "ours, low memory"
OPTIONS = (
    ("side", "of the images, in pixels (default: 512)"),
    ("precision", "fp32, fp16 or bf16 (default: fp32 on the CPU, bf16 on CUDA)"),
)


def decompose(work: Path, run: Runner, device: str) -> list[dict[str, Any]]:
    """Have the decomposition made, so that each way of training finds it; no rows, see `benchmarks.decompose`."""
    words = ["decompose", "--model", "model", "--preset", "c2", "--device", device]
    checked("decompose", run(module("cli", *words), work, environment(work)))
    return []


BENCHMARK = Benchmark(
    "memory",
    __doc__,
    6_000_000_000,
    (Target(OURS, "peak_bytes", 8e9, "cuda"), Target(LOW_MEMORY, "peak_bytes", 4.5e9, "cuda")),
    build=("--float32",),
    before=decompose,
    options=OPTIONS,
    variants=("ours", "low-memory", "peft", "peft-attention"),
    by="peak_bytes",
)

main = BENCHMARK.main

if __name__ == "__main__":
    raise SystemExit(main())
