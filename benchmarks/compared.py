"""Benchmarks that compare: what `benchmarks.inside` measured, as a table with ratios to the peers, and targets."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
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


@dataclass(frozen=True)
class Target:
    """What something may cost at most.

    Attributes:
        what: the row it is about; column: "seconds" or "peak_bytes"; device: "cpu" or "cuda".
    """

    what: str
    column: str
    limit: float
    device: str = "cpu"


@dataclass(frozen=True)
class Benchmark:
    """One of them.

    Attributes:
        name: its module below `benchmarks`, and below `benchmarks.inside`.
        about: its docstring.
        needed: bytes of disk.
        targets: of the project.
        build: words for `benchmarks.pipeline`, which builds the model.
        before: rows that are measured in processes of their own, before the others.
    """

    name: str
    about: str | None
    needed: int
    targets: Sequence[Target]
    build: Sequence[str] = ()
    before: Callable[[Path, Runner, str], list[dict[str, Any]]] | None = None

    def main(
        self,
        arguments: Sequence[str] | None = None,
        configs: Path | None = None,
        needed: int | None = None,
        run: Runner = measured,
    ) -> int:
        """Measure and print.

        Args:
            arguments: the command line.
            configs: a diffusers folder whose sizes the model takes in place of SD v1.4's.
            needed: bytes of disk.
            run: starts a process and measures it.

        Returns 0, 1 where a target is missed, 2 where a process fails.
        """
        parser = argparse.ArgumentParser(
            prog=f"benchmarks.{self.name}", description=self.about, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
        parser.add_argument("--profile", type=Path, metavar="DIR", help="leave a trace of torch's profiler here")
        add_place(parser)
        given = parser.parse_args(arguments)
        try:
            with working(f"{self.name}-", given.work, self.needed if needed is None else needed, given.keep) as work:
                figures = self._figures(work, given.device, given.profile, configs, run)
        except Failed as problem:
            print(problem, file=sys.stderr)
            return 2
        print(f"{setting_line(figures)}, device {figures['device']}, threads {figures['threads']}\n\n{table(figures)}")
        write_figures(given.json, figures)
        return 0 if figures["holds"] else 1

    def _figures(
        self, work: Path, device: str, profile: Path | None, configs: Path | None, run: Runner
    ) -> dict[str, Any]:
        around = environment(work)
        sizes = ["--configs", str(configs.resolve())] if configs is not None else []
        checked("build", run(module("benchmarks.pipeline", "model", *self.build, *sizes), work, around))
        rows = self.before(work, run, device) if self.before is not None else []
        traced = ["--profile", str(profile.resolve())] if profile is not None else []
        words = module(f"benchmarks.inside.{self.name}", "model", "--device", device, *traced)
        inside = checked(self.name, run(words, work, around))
        told = json.loads(inside.out)
        return judged({**setting(), **told, "rows": [*rows, *told["rows"]]}, self.targets)


def judged(figures: Mapping[str, Any], targets: Sequence[Target]) -> dict[str, Any]:
    """The figures with the ratios of every row to its peers, and the targets for this device with what was measured."""
    peers = {row["key"]: row["seconds"] for row in figures["rows"] if "key" in row}
    rows = [
        {**row, "ratios": {key: peers[key] / row["seconds"] for key in row.get("against", ())}}
        for row in figures["rows"]
    ]
    by_name = {row["what"]: row for row in rows}
    verdicts = []
    for target in targets:
        if target.device == figures["device"].partition(":")[0]:
            value = by_name[target.what][target.column]
            verdicts.append({"what": target.what, "column": target.column, "limit": target.limit, "value": value})
    for verdict in verdicts:
        verdict["holds"] = verdict["value"] <= verdict["limit"]
    return {**figures, "rows": rows, "targets": verdicts, "holds": all(verdict["holds"] for verdict in verdicts)}


def table(figures: Mapping[str, Any]) -> str:
    """Rows and targets as Markdown."""
    peers = [row["key"] for row in figures["rows"] if "key" in row]
    with_peak = any("peak_bytes" in row for row in figures["rows"])
    header = [
        "",
        "seconds",
        *(["peak memory, GB"] if with_peak else []),
        *(f"times quicker than {p}" for p in peers),
        "",
    ]
    rows = []
    for row in figures["rows"]:
        peak = f"{row['peak_bytes'] / 1e9:.2f}" if "peak_bytes" in row else ""
        ratios = [f"{row['ratios'][peer]:.2f}" if peer in row["ratios"] else "" for peer in peers]
        rows.append([row["what"], _seconds(row["seconds"]), *([peak] if with_peak else []), *ratios, row["note"]])
    limits = [
        [f"{v['what']}: {_value(v['column'], v['value'])}", f"≤ {_value(v['column'], v['limit'])}", _word(v["holds"])]
        for v in figures["targets"]
    ]
    return "\n\n".join([lines(header, rows), *([lines(["measured", "target", ""], limits)] if limits else [])])


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value >= 0.995 else f"{value:.3g}"


def _value(column: str, value: float) -> str:
    return f"{_seconds(value)} s" if column == "seconds" else f"{value / 1e9:.2f} GB"


def _word(holds: bool) -> str:
    return "holds" if holds else "**misses**"
