"""What the commands cost on a model of the size of Stable Diffusion v1.4: time, peak memory, bytes written.

    python -m benchmarks.full_size [--images DIR] [--work DIR] [--keep] [--json FILE]

Builds the model with random weights, offline, and runs `decompose`, `train`, `sample` and `merge` on it, each as a
process of its own. Prints a table with the project's targets and exits with 1 where one is missed. Random weights cost
what trained ones do; the images show nothing. Needs about 8 GB of disk for as long as it runs.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .measure import bytes_in, measured
from .processes import (
    Failed,
    Runner,
    add_place,
    checked,
    environment,
    lines,
    module,
    setting,
    setting_line,
    working,
    write_figures,
)

NEEDED = 8_000_000_000
"""Bytes of disk for the model, its decomposition and the merged model, with some air."""


@dataclass(frozen=True)
class Target:
    """What a command may cost at most.

    Attributes:
        what: "seconds", "peak_bytes", or a key of what the command prints with --json.
    """

    command: str
    what: str
    limit: float


TARGETS = (
    Target("decompose", "seconds", 60),
    Target("decompose", "peak_bytes", 10e9),
    Target("train", "peak_bytes", 24e9),
    Target("sample", "peak_bytes", 24e9),
    Target("merge", "peak_bytes", 24e9),
    Target("train", "atoms_bytes", 2.3e6),
)


@dataclass(frozen=True)
class Cost:
    """What a command came to; `printed` is its --json."""

    command: str
    seconds: float
    peak_bytes: int
    gpu_bytes: int
    written_bytes: int
    printed: dict[str, Any]

    def of(self, what: str) -> float:
        """A figure by the name that a target has for it."""
        return float(getattr(self, what) if hasattr(self, what) else self.printed[what])


def run_all(work: Path, images: Path | None = None, configs: Path | None = None, run: Runner = measured) -> list[Cost]:
    """Build the model in `work` and run every command on it.

    Args:
        images: photos of one thing; drawn where there are none.
        configs: a diffusers folder whose sizes the model takes in place of SD v1.4's.
        run: starts a command and measures it.

    Raises Failed with the last lines of a command that fails.
    """
    options = [("--images", images), ("--configs", configs)]
    extra = [word for name, path in options if path is not None for word in (name, str(path.resolve()))]
    around = environment(work)
    checked("build", run(module("benchmarks.pipeline", "model", "--image-folder", "photos", *extra), work, around))
    costs = []
    for name, words in _commands().items():
        before = bytes_in(work)
        done = checked(name, run(module("cli", name, *words, "--json"), work, around))
        written, printed = bytes_in(work) - before, json.loads(done.out)
        costs.append(Cost(name, done.seconds, done.peak_bytes, done.gpu_bytes, written, printed))
    return costs


def _commands() -> dict[str, list[str]]:
    atoms = ["--atoms", "runs/castle/castle.safetensors", "--model", "model"]
    return {
        "decompose": ["--model", "model", "--preset", "c2"],
        "train": ["--model", "model", "--concept", "castle", "--images", "photos", "--steps", "2"],
        "sample": [*atoms, "--prompt", "a photo of a <castle> on the beach", "--steps", "2"],
        "merge": [*atoms, "--output", "merged", "--precision", "fp16"],
    }


def verdicts(costs: Sequence[Cost], targets: Sequence[Target] = TARGETS) -> list[tuple[Target, float, bool]]:
    """Each target with the figure that was measured, and whether it holds."""
    by_name = {cost.command: cost for cost in costs}
    measured_ones = [(target, by_name[target.command].of(target.what)) for target in targets]
    return [(target, value, value <= target.limit) for target, value in measured_ones]


def table(costs: Sequence[Cost], judged: Sequence[tuple[Target, float, bool]]) -> str:
    """Costs and targets as Markdown."""
    on_gpu = any(cost.gpu_bytes for cost in costs)
    header = ["command", "seconds", "peak memory, GB", *(["GPU memory, GB"] if on_gpu else []), "written, MB"]
    rows = [
        [
            f"`{cost.command}`",
            f"{cost.seconds:.1f}",
            f"{cost.peak_bytes / 1e9:.1f}",
            *([f"{cost.gpu_bytes / 1e9:.1f}"] if on_gpu else []),
            f"{cost.written_bytes / 1e6:,.1f}",
        ]
        for cost in costs
    ]
    limits = [
        [f"`{target.command}`: {_named(target.what, value)}", f"≤ {_value(target.what, target.limit)}", _word(holds)]
        for target, value, holds in judged
    ]
    return f"{lines(header, rows)}\n\n{lines(['measured', 'target', ''], limits)}"


def _named(what: str, value: float) -> str:
    names = {"seconds": "time", "peak_bytes": "peak memory", "atoms_bytes": "atoms file"}
    return f"{names.get(what, what)} {_value(what, value)}"


def _value(what: str, value: float) -> str:
    if what == "seconds":
        return f"{value:.1f} s"
    return f"{value / 1e9:.1f} GB" if value >= 1e9 else f"{value / 1e6:.2f} MB"


def _word(holds: bool) -> str:
    return "holds" if holds else "**misses**"


def report(costs: Sequence[Cost], judged: Sequence[tuple[Target, float, bool]]) -> dict[str, Any]:
    """Everything measured, for JSON."""
    return {
        **setting(),
        "commands": [asdict(cost) for cost in costs],
        "targets": [{**asdict(target), "value": value, "holds": holds} for target, value, holds in judged],
        "holds": all(holds for _, _, holds in judged),
    }


def main(
    arguments: list[str] | None = None, configs: Path | None = None, needed: int = NEEDED, run: Runner = measured
) -> int:
    """Measure, print, and say by the exit code whether every target holds; 2 where a command fails."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.full_size", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="photos of one thing (default: drawn)")
    add_place(parser)
    given = parser.parse_args(arguments)
    try:
        with working("full-size-", given.work, needed, given.keep) as work:
            costs = run_all(work, given.images, configs, run)
    except Failed as problem:
        print(problem, file=sys.stderr)
        return 2
    judged = verdicts(costs)
    figures = report(costs, judged)
    print(f"{setting_line(figures)}\n\n{table(costs, judged)}")
    write_figures(given.json, figures)
    return 0 if figures["holds"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
