"""What one step of training costs on a UNet of the size of Stable Diffusion v1.4: forward, backward, clipping, AdamW.

    python -m benchmarks.train_step [--device cuda] [--side N] [--precision bf16] [--times N] [--json FILE]
                                    [--preserve X] [--profile DIR] [--work DIR] [--keep]

Builds the model with random weights, offline, and measures in one process at batch 1: ours with the preset C2, as
`atomtune train` takes its steps (on CUDA recorded as a CUDA graph, and one by one too); the same with autograd alone in
the place of `atomtune.core.functional`; peft's LoRA on the same layers and on those of attention alone, as diffusers'
training scripts run it, and on the CPU with the C library's allocator set as ours have it too; on CUDA full
fine-tuning, where there is room. With --preserve there are rows of ours with preservation, on every step and on every
second one. Each is the median of --times steps after a few that do not count. The note has the loss of the first step
of all, which is the base model's. Exits with 1 where a target is missed.
Needs 6 GB of disk and 16 GB of memory.
"""

from .compared import Benchmark, Target

OURS = "ours"
SAME_LAYERS = "peft"  # the key of its row
OPTIONS = (
    ("side", "of the images, in pixels (default: 256 on the CPU, 512 on CUDA)"),
    ("precision", "fp32, fp16 or bf16 (default: fp32 on the CPU, bf16 on CUDA)"),
)
PRESERVE = ("preserve", "weight of preservation, for rows of ours with it")
TIMES = ("times", "steps that count (default: 5 on the CPU, 50 on CUDA)")

BENCHMARK = Benchmark(
    "train_step",
    __doc__,
    6_000_000_000,
    (Target(OURS, "seconds", 0.8, of=SAME_LAYERS),),
    build=("--float32",),
    options=(*OPTIONS, PRESERVE, TIMES),
)

main = BENCHMARK.main

if __name__ == "__main__":
    raise SystemExit(main())
