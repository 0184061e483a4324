"""What a folder of thousands of photos costs before training: `prepare` and `train --dry-run`, in time and memory.

python -m benchmarks.many_photos --work DIR [--photos 2000]
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 4000, 3000
COMMANDS = {
    "prepare": ("prepare", "--concept", "many", "--overwrite"),
    "train --dry-run": ("train", "--concept", "many", "--dry-run"),
}


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock and of the processors, and the most bytes of memory that the process took."""

    seconds: float
    processor: float
    bytes: int


def write_photo(folder: Path, number: int) -> None:
    """A JPEG of 12 megapixels and some 3 MB: smooth shapes with detail and grain, another one for each number."""
    path = folder / f"{number:05d}.jpg"
    if path.is_file():
        return
    rng = np.random.default_rng(number)

    def noise(width: int, height: int) -> np.ndarray:
        small = Image.fromarray((rng.random((height, width, 3)) * 255).astype(np.uint8))
        return np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), dtype=np.float32)

    pixels = 0.7 * noise(16, 12) + 0.25 * noise(500, 375) + rng.normal(0, 4, (HEIGHT, WIDTH, 1)).astype(np.float32)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def cost_of(work: Path, arguments: Sequence[str]) -> Cost:
    """Run a command of atomtune in a process of its own."""
    program = "from atomtune.commands.app import main; raise SystemExit(main())"
    environment = {**os.environ, "ATOMTUNE_CACHE": str(work / "cache"), "PYTHONPATH": str(Path.cwd())}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments, "--quiet"],
        cwd=work,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"atomtune {' '.join(arguments)} failed with {process.returncode}")
    return Cost(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, 1024 * usage.ru_maxrss)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_photos")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=2000)
    given = parser.parse_args(arguments)
    folder = given.work / "concepts" / "many"
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(write_photo, folder), range(given.photos)))
    print("| command | seconds | of the processors | MB |\n|---|--:|--:|--:|")
    for name, words in COMMANDS.items():
        cost = cost_of(given.work, words)
        print(f"| {name} | {cost.seconds:.0f} | {cost.processor:.0f} | {cost.bytes / 1e6:.0f} |")


if __name__ == "__main__":
    main()
