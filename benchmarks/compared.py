"""Benchmarks that compare: what `benchmarks.inside` measured, as a table with ratios to the peers, and targets."""

import argparse
import json
import os
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
        of: key of the row whose figure in that column `limit` is a multiple of; seconds or bytes without one.
    """

    what: str
    column: str
    limit: float
    device: str = "cpu"
    of: str | None = None


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
        options: names and helps of further options, which are passed on to the program in `benchmarks.inside`.
        variants: values of that program's --variant, each for a process of its own, whose peak memory is then that of
            the rows that tell none; none for one process.
        by: the column whose ratios to the peers are shown.
    """

    name: str
    about: str | None
    needed: int
    targets: Sequence[Target]
    build: Sequence[str] = ()
    before: Callable[[Path, Runner, str], list[dict[str, Any]]] | None = None
    options: Sequence[tuple[str, str]] = ()
    variants: Sequence[str] = ()
    by: str = "seconds"

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
        for name, about in self.options:
            parser.add_argument(f"--{name}", help=about)
        add_place(parser)
        given = parser.parse_args(arguments)
        try:
            with working(f"{self.name}-", given.work, self.needed if needed is None else needed, given.keep) as work:
                figures = self._figures(work, given, configs, run)
        except Failed as problem:
            print(problem, file=sys.stderr)
            return 2
        facts = [f"device {figures['device']}", f"threads {figures['threads']}", *figures.get("conditions", ())]
        print(f"{', '.join([setting_line(figures), *facts])}\n\n{table(figures)}")
        write_figures(given.json, figures)
        return 0 if figures["holds"] else 1

    def _figures(self, work: Path, given: argparse.Namespace, configs: Path | None, run: Runner) -> dict[str, Any]:
        around = environment(work)
        sizes = ["--configs", str(configs.resolve())] if configs is not None else []
        checked("build", run(module("benchmarks.pipeline", "model", *self.build, *sizes), work, around))
        os.sync()  # so that nothing that is measured waits for the model to reach the disk
        rows = self.before(work, run, given.device) if self.before is not None else []
        words = ["model", "--device", given.device]
        if given.profile is not None:
            words += ["--profile", str(given.profile.resolve())]
        for name, _ in self.options:
            if (value := getattr(given, name)) is not None:
                words += [f"--{name}", value]
        program = module(f"benchmarks.inside.{self.name}", *words)
        told: dict[str, Any] = {}
        if not self.variants:
            told = json.loads(checked(self.name, run(program, work, around)).out)
            rows += told["rows"]
        for variant in self.variants:
            inside = checked(f"{self.name} {variant}", run([*program, "--variant", variant], work, around))
            told = json.loads(inside.out)
            rows += [{"peak_bytes": inside.peak_bytes, **row} for row in told["rows"]]
        return judged({**setting(), **told, "rows": rows}, self.targets, self.by)


_RATIOS = {"seconds": "times quicker than", "peak_bytes": "times smaller than"}


def judged(figures: Mapping[str, Any], targets: Sequence[Target], by: str = "seconds") -> dict[str, Any]:
    """The figures with the ratios of every row to its peers, and the targets for this device with what was measured.

    `by` is the column of the ratios; a peer's figure is divided by the row's.
    """
    peers = {row["key"]: row for row in figures["rows"] if "key" in row}
    rows = [
        {**row, "ratios": {key: peers[key][by] / row[by] for key in row.get("against", ())}} for row in figures["rows"]
    ]
    by_name = {row["what"]: row for row in rows}
    verdicts = []
    for target in targets:
        if target.device == figures["device"].partition(":")[0]:
            value = by_name[target.what][target.column]
            verdict = {"what": target.what, "column": target.column, "limit": target.limit, "value": value}
            if target.of is not None:
                verdict |= {"of": target.of, "value": value / peers[target.of][target.column]}
            verdicts.append(verdict)
    for verdict in verdicts:
        verdict["holds"] = verdict["value"] <= verdict["limit"]
    holds = all(verdict["holds"] for verdict in verdicts)
    return {**figures, "rows": rows, "by": by, "targets": verdicts, "holds": holds}


def table(figures: Mapping[str, Any]) -> str:
    """Rows and targets as Markdown."""
    peers = [row["key"] for row in figures["rows"] if "key" in row]
    with_peak = any("peak_bytes" in row for row in figures["rows"])
    header = [
        "",
        "seconds",
        *(["peak memory, GB"] if with_peak else []),
        *(f"{_RATIOS[figures['by']]} {p}" for p in peers),
        "",
    ]
    rows = []
    for row in figures["rows"]:
        peak = f"{row['peak_bytes'] / 1e9:.2f}" if "peak_bytes" in row else ""
        ratios = [f"{row['ratios'][peer]:.2f}" if peer in row["ratios"] else "" for peer in peers]
        rows.append([row["what"], _seconds(row["seconds"]), *([peak] if with_peak else []), *ratios, row["note"]])
    limits = [
        [f"{v['what']}: {_value(v, v['value'])}", f"≤ {_value(v, v['limit'])}", _word(v["holds"])]
        for v in figures["targets"]
    ]
    return "\n\n".join([lines(header, rows), *([lines(["measured", "target", ""], limits)] if limits else [])])


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value >= 0.995 else f"{value:.3g}"


def _value(verdict: Mapping[str, Any], value: float) -> str:
    if "of" in verdict:
        return f"{value:.2f} × {verdict['of']}"
    return f"{_seconds(value)} s" if verdict["column"] == "seconds" else f"{value / 1e9:.2f} GB"


def _word(holds: bool) -> str:
    return "holds" if holds else "**misses**"
