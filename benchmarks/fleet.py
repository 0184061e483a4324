"""Many concepts: one `atomtune fleet train` beside as many `atomtune train` commands, one after the other.

    python -m benchmarks.fleet [--concepts 12] [--workers 2] [--steps 200] [--model DIR] [--json FILE] [--work DIR]

Renders things that `pocket` never saw and has both learn them with the same options. Each has a cache of its own, so
each decomposes the base model once. A `train` command has as many threads as PyTorch takes, those of the cores; a
worker of the fleet has one. With the default numbers the exit code is 1 where the fleet takes over 0.6 of the time.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .measure import measured
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
from .things import names

NEEDED = 500_000_000
"""Bytes of disk."""
CONCEPTS, WORKERS, STEPS = 12, 2, 200
LIMIT = 0.6
"""Of the time of the commands that the fleet may take."""


@dataclass(frozen=True)
class Work:
    """What both ways are asked for; `folder` holds concepts/."""

    folder: Path
    run: Runner
    concepts: int
    workers: int
    steps: int
    model: str

    def do(self, cache: str, *words: str) -> tuple[float, Any]:
        """Run a command of atomtune; its seconds, and what it printed."""
        around = environment(self.folder) | {"ATOMTUNE_CACHE": str(self.folder / cache)}
        done = checked(" ".join(words[:2]), self.run(module("cli", *words, "--json"), self.folder, around))
        return done.seconds, json.loads(done.out)

    def one_by_one(self) -> tuple[float, list[dict[str, Any]]]:
        """The seconds of all commands, and what each printed."""
        done = [self.train(name, noun, "one-by-one") for name, noun in names(self.concepts).items()]
        return sum(seconds for seconds, _ in done), [printed for _, printed in done]

    def train(self, name: str, noun: str, output: str, steps: int | None = None) -> tuple[float, Any]:
        """Learn one concept."""
        return self.do(
            f"cache-{output}",
            *("train", "--concept", name, "--class-noun", noun, "--images", f"concepts/{name}", "--model", self.model),
            *("--steps", str(steps or self.steps), "--device", "cpu", "--output", f"{output}/{name}"),
        )

    def fleet(self) -> tuple[float, list[dict[str, Any]]]:
        """The seconds of the fleet, and its rows."""
        jobs = [
            f'[[jobs]]\nconcept = "{name}"\nclass_noun = "{noun}"\nimages = "concepts/{name}"\n'
            for name, noun in names(self.concepts).items()
        ]
        common = f"model = {json.dumps(self.model)}\nsteps = {self.steps}\ndevice = 'cpu'\n"
        (self.folder / "jobs.toml").write_text("\n".join([common, *jobs]), encoding="utf-8")
        words = ("--jobs", "jobs.toml", "--output", "fleet", "--workers", str(self.workers))
        seconds, printed = self.do("cache-fleet", "fleet", "train", *words)
        return seconds, printed["rows"]


def figures_of(work: Work) -> dict[str, Any]:
    """What both ways took."""
    render = module("benchmarks.things", "concepts", "--count", str(work.concepts))
    checked("things", work.run(render, work.folder, environment(work.folder)))
    name, noun = next(iter(names(work.concepts).items()))
    work.train(name, noun, "before", steps=1)  # so that neither reads programs and weights from the disk
    fleet_seconds, rows = work.fleet()
    train_seconds, printed = work.one_by_one()
    steps = [sum(one["seconds"] for one in part) for part in (rows, printed)]
    return {
        "concepts": work.concepts,
        "workers": work.workers,
        "steps": work.steps,
        "fleet_seconds": fleet_seconds,
        "train_seconds": train_seconds,
        "fleet_step_seconds": steps[0],
        "train_step_seconds": steps[1],
        "ratio": fleet_seconds / train_seconds,
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    count, steps = figures["concepts"], figures["concepts"] * figures["steps"]

    def row(what: str, kind: str) -> list[str]:
        seconds, taken = figures[f"{kind}_seconds"], figures[f"{kind}_step_seconds"]
        each = [f"{seconds:.1f}", f"{seconds / count:.2f}", f"{3600 * count / seconds:,.0f}"]
        return [what, *each, f"{1000 * taken / steps:.1f} ms", f"{seconds / figures['train_seconds']:.2f}"]

    header = ["", "seconds", "for a concept", "concepts in an hour", "a step takes", "of the commands' time"]
    fleet = row(f"`atomtune fleet train`, {figures['workers']} workers of one thread", "fleet")
    return lines(header, [fleet, row(f"{count} `atomtune train` commands, one after the other", "train")])


def main(arguments: Sequence[str] | None = None, run: Runner = measured) -> int:
    """Measure, print, and say by the exit code whether the fleet is as quick as it should be; 2 where one fails."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.fleet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--concepts", type=int, default=CONCEPTS, metavar="N", help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=WORKERS, metavar="N", help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=STEPS, metavar="N", help="for each (default: %(default)s)")
    parser.add_argument("--model", default="pocket", help="default: %(default)s")
    add_place(parser)
    given = parser.parse_args(arguments)
    try:
        with working("fleet-", given.work, NEEDED, given.keep) as folder:
            found = figures_of(Work(folder, run, given.concepts, given.workers, given.steps, given.model))
    except Failed as problem:
        print(problem, file=sys.stderr)
        return 2
    figures = {**setting(), **found}
    usual = (given.concepts, given.workers, given.steps) == (CONCEPTS, WORKERS, STEPS)
    holds = figures["ratio"] <= LIMIT
    print(f"{setting_line(figures)}, {given.steps} steps for each concept\n\n{table(figures)}")
    if usual:
        print(f"\nfleet / commands: {figures['ratio']:.2f}, target ≤ {LIMIT}: {'holds' if holds else '**misses**'}")
    write_figures(given.json, figures)
    return 0 if holds or not usual else 1


if __name__ == "__main__":
    raise SystemExit(main())
