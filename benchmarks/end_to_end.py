"""What it costs to learn a concept, from the command line to the saved file, beside diffusers' own example script.

    python -m benchmarks.end_to_end [--device cuda] [--steps N] [--side PIXELS] [--precision bf16] [--low-memory]
                                    [--json FILE] [--profile DIR] [--work DIR] [--keep]

Builds a model of the size of Stable Diffusion v1.4 with random weights, offline, its UNet in float32 as on the hub, and
draws four images. Measures, each as a process of its own: `atomtune decompose` with the preset C2, which is done once
for a base model; `atomtune train`, which finds that decomposition in the cache; and a LoRA learned by the steps of
diffusers' `train_dreambooth_lora.py` with its documented settings (see `benchmarks/inside/end_to_end.py`). Both learn
at batch 1 for as many steps. The images are small files, so that reading them anew at each step costs the script
little. Of a process's time, that of its steps and the rest (imports, loading, latents, saving) are told apart.

The targets are those of a GPU, for 1000 steps at 512 pixels; there, the exit code is 1 where one is missed. On the CPU
the default is 5 steps, and --side 256 saves time. Needs 6 GB of disk.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .compared import Target, judged, table
from .measure import Measured, gpu_memory, measured
from .processes import (
    Failed,
    Runner,
    add_place,
    checked,
    environment,
    module,
    setting,
    setting_line,
    working,
    write_figures,
)

NEEDED = 6_000_000_000
"""Bytes of disk for the model, its decomposition and the runs."""

DECOMPOSE = "atomtune decompose, once for a base model"
TRAIN = "atomtune train"
LOW_MEMORY = "atomtune train --low-memory"
DIFFUSERS = "LoRA by the steps of diffusers' train_dreambooth_lora.py"

STEPS = {"cuda": 1000, "cpu": 5}
SIDE = 512
PRECISION = {"cuda": "bf16", "cpu": "fp32"}
TRACED = 6
"""Steps that a trace shows; on a GPU the first three run one by one, and the others are replayed."""

TARGETS = (
    Target(TRAIN, "seconds", 30, "cuda"),
    Target(TRAIN, "seconds", 1 / 3, "cuda", of="diffusers"),
    Target(TRAIN, "gpu_bytes", 8e9, "cuda"),
)
"""For as many steps of as large images as are the default on a GPU."""


@dataclass(frozen=True)
class Work:
    """What all processes are asked for.

    Attributes:
        folder: the one they work in; it holds the model and the images.
        run: starts a process and measures it.
        steps: to learn for; side: of the images in pixels; precision: what is computed in.
    """

    folder: Path
    run: Runner
    device: str
    steps: int
    side: int
    precision: str

    def do(self, name: str, *words: str) -> Measured:
        """Run a module of ours. Raises Failed where it does not end well."""
        return checked(words[0] if name == "cli" else name, self.run(module(name, *words), self.folder, self._around))

    def train(self, steps: int, output: str) -> list[str]:
        """The words of the command that learns."""
        return [
            *("train", "--method", "atoms", "--preset", "c2", "--model", "model", "--concept", "castle"),
            *("--images", "images", "--output", output, "--steps", str(steps), "--resolution", str(self.side)),
            *("--precision", self.precision, "--device", self.device, "--json"),
        ]

    def diffusers(self, steps: int, output: str) -> list[str]:
        """The words of the program that does as diffusers' script does."""
        return [
            *("model", "--images", "images", "--output", output, "--steps", str(steps), "--side", str(self.side)),
            *("--precision", self.precision, "--device", self.device),
        ]

    @property
    def _around(self) -> Mapping[str, str]:
        return environment(self.folder)


def build(work: Work, configs: Path | None = None) -> None:
    """Write the model and the images; `configs` is a diffusers folder whose sizes it takes in place of SD v1.4's."""
    sizes = ["--configs", str(configs.resolve())] if configs is not None else []
    work.do("benchmarks.pipeline", "model", "--float32", "--image-folder", "images", *sizes)
    os.sync()  # so that nothing that is measured waits for the model to reach the disk


def rows_of(work: Work, low_memory: bool) -> tuple[list[dict[str, Any]], int]:
    """What was measured of every process, and how many threads they have."""
    done = work.do("cli", "decompose", "--model", "model", "--preset", "c2", "--device", work.device, "--json")
    written = json.loads(done.out)["bytes"]
    rows = [_row(DECOMPOSE, done, f"{written / 1e6:,.1f} MB written")]
    for what, more in ((TRAIN, []), *([(LOW_MEMORY, ["--low-memory"])] if low_memory else [])):
        done = work.do("cli", *work.train(work.steps, "-".join(["ours", *more]).replace("--", "")), *more)
        printed = json.loads(done.out)
        told = {"trainable_parameters": printed["trainable_parameters"], "bytes": printed["atoms_bytes"]}
        rows.append(_learned(what, done, printed["seconds"], work.steps, against=["diffusers"], **told))
    done = work.do("benchmarks.inside.end_to_end", *work.diffusers(work.steps, "lora"))
    printed = json.loads(done.out)
    told = {name: printed[name] for name in ("trainable_parameters", "bytes")}
    rows.append(_learned(DIFFUSERS, done, printed["seconds"], work.steps, key="diffusers", **told))
    return rows, printed["threads"]


def traces(work: Work, low_memory: bool, folder: Path) -> None:
    """Leave a trace of a few steps of each that learns, with what comes before and after them."""
    variants = [("end_to_end", []), *([("end_to_end_low_memory", ["--low-memory"])] if low_memory else [])]
    for name, more in variants:
        words = [*work.train(TRACED, f"traced-{name}"), *more]
        work.do("benchmarks.inside.traced", str(folder / f"{name}.json"), work.device, *words)
    words = [*work.diffusers(TRACED, "traced-lora"), "--profile", str(folder)]
    work.do("benchmarks.inside.end_to_end", *words)


def _learned(what: str, done: Measured, seconds: float, steps: int, **more: Any) -> dict[str, Any]:
    """A row of a process whose steps took so many seconds of its time."""
    step, rest = seconds / steps, done.seconds - seconds
    note = f"{step:.3g} s a step, {rest:.1f} s for the rest; {more['trainable_parameters']:,} parameters"
    return _row(what, done, note, step_seconds=step, other_seconds=rest, **more)


def _row(what: str, done: Measured, note: str, **more: Any) -> dict[str, Any]:
    if done.gpu_bytes:
        note += f"; {done.gpu_bytes / 1e9:.1f} GB of the GPU"
    costs = {"seconds": done.seconds, "peak_bytes": done.peak_bytes, "gpu_bytes": done.gpu_bytes}
    return {"what": what, **costs, "note": note, **more}


def targets_of(work: Work) -> Sequence[Target]:
    """Those that are to be met: of no shorter runs, and of no smaller images."""
    return TARGETS if (work.steps, work.side) == (STEPS["cuda"], SIDE) else ()


def main(
    arguments: Sequence[str] | None = None, configs: Path | None = None, needed: int = NEEDED, run: Runner = measured
) -> int:
    """Measure, print, and say by the exit code whether every target holds; 2 where a process fails."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.end_to_end", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=sorted(STEPS), default="cpu", help="default: cpu")
    parser.add_argument("--steps", type=int, metavar="N", help="default: 1000 on a GPU, 5 on the CPU")
    parser.add_argument("--side", type=int, default=SIDE, metavar="PIXELS", help=f"of the images (default: {SIDE})")
    parser.add_argument("--precision", choices=("fp32", "fp16", "bf16"), help="default: bf16 on a GPU, else fp32")
    parser.add_argument("--low-memory", action="store_true", help="measure atomtune train --low-memory as well")
    parser.add_argument("--profile", type=Path, metavar="DIR", help="leave traces of torch's profiler here")
    add_place(parser)
    given = parser.parse_args(arguments)
    steps, precision = given.steps or STEPS[given.device], given.precision or PRECISION[given.device]
    try:
        if given.device == "cuda" and gpu_memory() is None:
            raise Failed("nvidia-smi does not tell how much of the GPU's memory is in use, which is to be measured")
        with working("end-to-end-", given.work, needed, given.keep) as folder:
            work = Work(folder, run, given.device, steps, given.side, precision)
            build(work, configs)
            rows, threads = rows_of(work, given.low_memory)
            if given.profile is not None:
                traces(work, given.low_memory, given.profile.resolve())
    except Failed as problem:
        print(problem, file=sys.stderr)
        return 2
    asked = {"device": given.device, "threads": threads, "steps": steps, "side": given.side, "precision": precision}
    figures = judged({**setting(), **asked, "rows": rows}, targets_of(work))
    line = ", ".join(f"{name} {value}" for name, value in asked.items())
    print(f"{setting_line(figures)}, {line}\n\n{table(figures)}")
    write_figures(given.json, figures)
    return 0 if figures["holds"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
