"""The table of a comparison: means and spreads over concepts and seeds, and what one variant has over another."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import Any

from ..runtime.units import size
from .curves import AREAS, Point, areas
from .runs import Trained
from .scoring import Score
from .variants import Variant

FIGURES = ("fidelity", "diversity", "alignment", "drift")
"""The measures of the table; those of `Measures` that it leaves out are in the rows of the runs."""

SCENES = "scenes_right"

COLUMNS = (*FIGURES, SCENES, *AREAS)
"""The columns of figures; those after `FIGURES` only where some line has them."""


@dataclass(frozen=True)
class Run:
    """A run that is complete and scored."""

    concept: str
    seed: int
    variant: Variant
    learning_rate: float
    trained: Trained
    score: Score
    curve: tuple[Point, ...] = ()

    @cached_property
    def areas(self) -> dict[str, float | None]:
        """See `curves.areas`; empty without a curve."""
        return areas(self.curve, self.score.real)

    def figure(self, name: str) -> float | None:
        """A measure, or one of "scenes_right", "worth", "seconds" and `AREAS`, by its name."""
        if name in AREAS:
            return self.areas.get(name)
        if name in ("worth", SCENES):
            return getattr(self.score, name)
        return self.trained.seconds if name == "seconds" else getattr(self.score.measures, name)


@dataclass(frozen=True)
class Mean:
    """A mean over runs.

    Attributes:
        spread: their standard deviation (that of a sample: n − 1); None for one run.
        n: how many.
    """

    mean: float
    spread: float | None
    n: int

    def text(self, digits: int = 3) -> str:
        """ "0.873 ± 0.012"."""
        return f"{self.mean:.{digits}f}" + ("" if self.spread is None else f" ± {self.spread:.{digits}f}")


@dataclass(frozen=True)
class Line:
    """A variant in the table.

    Attributes:
        runs: how many it rests on.
        figures: of `COLUMNS`, "worth" and "seconds" those that every run has.
        parameters: trained numbers; atoms_bytes: of the file, the mean.
        peak_bytes, gpu_peak_bytes: the most of all runs; None where that is not known.
    """

    variant: Variant
    learning_rate: float
    runs: int
    figures: dict[str, Mean]
    parameters: int
    atoms_bytes: float
    peak_bytes: int | None
    gpu_peak_bytes: int | None

    @property
    def peak(self) -> int | None:
        """Of the GPU where there is one, else of the process."""
        return self.gpu_peak_bytes if self.gpu_peak_bytes is not None else self.peak_bytes


@dataclass(frozen=True)
class Reference:
    """What the variants are seen against: the base model on the same prompts and seeds, and real images.

    Attributes:
        base: means over the concepts. real: fidelity of real images to each other; None where that is not known.
    """

    base: dict[str, Mean]
    real: Mean | None


@dataclass(frozen=True)
class Difference:
    """What a variant has over another, run by run of the same concept and seed.

    Attributes:
        figures: mean difference, its standard error (None for one pair) and the number of pairs.
    """

    variant: Variant
    figures: dict[str, tuple[float, float | None, int]]


def mean_and_spread(values: Sequence[float | None]) -> Mean | None:
    """None where one of the values is not known, or there is none."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return Mean(fmean(known), stdev(known) if len(known) > 1 else None, len(known))


def lines(runs: Sequence[Run], variants: Sequence[Variant]) -> list[Line]:
    """A line for each variant that has runs, in the order of the variants."""
    return [_line(variant, mine) for variant in variants if (mine := [run for run in runs if run.variant == variant])]


def _line(variant: Variant, runs: Sequence[Run]) -> Line:
    means = {name: mean_and_spread([run.figure(name) for run in runs]) for name in _NAMES}
    return Line(
        variant=variant,
        learning_rate=runs[0].learning_rate,
        runs=len(runs),
        figures={name: mean for name, mean in means.items() if mean is not None},
        parameters=runs[0].trained.parameters,
        atoms_bytes=fmean(run.trained.atoms_bytes for run in runs),
        peak_bytes=_most([run.trained.peak_bytes for run in runs]),
        gpu_peak_bytes=_most([run.trained.gpu_peak_bytes for run in runs]),
    )


_NAMES = (*FIGURES, "dino", "clip_i", SCENES, "worth", "seconds", *AREAS)


def _most(values: Sequence[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def reference(runs: Sequence[Run]) -> Reference:
    """Of all concepts in the runs, each once: all runs of a concept are seen against the same images."""
    scores = list({run.concept: run.score for run in runs}.values())

    def mean(value_of: Callable[[Score], float | None]) -> Mean | None:
        return mean_and_spread([value_of(score) for score in scores])

    means = {name: mean(lambda score, name=name: getattr(score.base, name)) for name in _MEASURED}  # type: ignore[misc]
    means[SCENES] = mean(lambda score: score.base_scenes_right)
    return Reference({name: value for name, value in means.items() if value is not None}, mean(lambda s: s.real))


_MEASURED = (*FIGURES, "dino", "clip_i")


def differences(runs: Sequence[Run], variants: Sequence[Variant]) -> list[Difference]:
    """What each variant has over the first one. Concepts differ more than variants do: pairs show what means hide."""
    first = {(run.concept, run.seed): run for run in runs if run.variant == variants[0]}
    found = []
    for variant in variants[1:]:
        pairs = [
            (run, first[run.concept, run.seed])
            for run in runs
            if run.variant == variant and (run.concept, run.seed) in first
        ]
        figures = {}
        for name in COLUMNS:
            values = [(one.figure(name), other.figure(name)) for one, other in pairs]
            known = [one - other for one, other in values if one is not None and other is not None]
            if known and len(known) == len(pairs):
                error = stdev(known) / math.sqrt(len(known)) if len(known) > 1 else None
                figures[name] = (fmean(known), error, len(known))
        if figures:
            found.append(Difference(variant, figures))
    return found


def run_row(run: Run) -> dict[str, Any]:
    """A run as a row of the CSV file, and as an object of the JSON."""
    made = asdict(run.trained)
    made.pop("base_fingerprint")
    return {
        "concept": run.concept,
        "seed": run.seed,
        "variant": run.variant.name,
        "learning_rate": run.learning_rate,
        **asdict(run.score.measures),
        "real_fidelity": run.score.real,
        "base_fidelity": run.score.base.fidelity,
        "worth": run.score.worth,
        SCENES: run.score.scenes_right,
        **{name: run.areas.get(name) for name in AREAS},
        **made,
    }


def line_row(line: Line) -> dict[str, Any]:
    """A variant as an object of the JSON."""
    return {
        "variant": line.variant.name,
        "method": line.variant.method,
        "spec": line.variant.spec.to_dict(),
        "train_token": line.variant.train_token,
        "training": dict(line.variant.training),
        "learning_rate": line.learning_rate,
        "runs": line.runs,
        **{name: {"mean": value.mean, "spread": value.spread} for name, value in line.figures.items()},
        "parameters": line.parameters,
        "atoms_bytes": line.atoms_bytes,
        "peak_bytes": line.peak_bytes,
        "gpu_peak_bytes": line.gpu_peak_bytes,
    }


def flat(line: Line) -> dict[str, Any]:
    """A variant as a row of the CSV file."""
    row = line_row(line)
    for name in _NAMES:
        value = row.pop(name, None) or {"mean": None, "spread": None}
        row |= {name: value["mean"], f"{name}_spread": value["spread"]}
    for named in ("spec", "training"):
        row[named] = " ".join(f"{name}={value}" for name, value in row[named].items())
    return row


def columns(lines_: Sequence[Line]) -> list[str]:
    """The columns of figures that a table of these lines has."""
    return [name for name in COLUMNS if name in FIGURES or any(name in line.figures for line in lines_)]


def text_rows(lines_: Sequence[Line], against: Reference) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table as text: base model and real images first."""
    named = columns(lines_)
    header = [
        "variant",
        "runs",
        "rate",
        *(name.replace("_", " ") for name in named),
        "parameters",
        "file",
        "seconds",
        "peak memory",
    ]

    def cells(figures: dict[str, Mean]) -> list[str]:
        return [figures[name].text(2 if name == "diversity" else 3) if name in figures else "" for name in named]

    rows = [["base model", "", "", *cells(against.base), "", "", "", ""]]
    if against.real is not None:
        rows.append(["real images", "", "", *cells({"fidelity": against.real}), "", "", "", ""])
    for line in lines_:
        peak = "" if line.peak is None else size(line.peak)
        cost = [f"{line.parameters:,}", size(line.atoms_bytes), line.figures["seconds"].text(1), peak]
        rows.append([line.variant.name, str(line.runs), f"{line.learning_rate:g}", *cells(line.figures), *cost])
    return header, rows


def markdown(lines_: Sequence[Line], against: Reference) -> str:
    """The table for a document."""
    header, rows = text_rows(lines_, against)
    marks = ["---", *("--:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, marks, *rows])
