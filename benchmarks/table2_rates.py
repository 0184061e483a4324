"""A learning rate for every variant, from the same number of tries for each, on things that the table leaves out.

Rates are 0.01×, 0.03×, 0.1×, … of the method's own. Three are tried to begin with: 0.3×, 1× and 3×. While the best of a
variant's is the lowest or highest tried, the next one beyond is tried, up to the budget. The best has the greatest mean
worth, evaluate's measure for the choice of a checkpoint (docs/evaluation.md); a run that fails is worth nothing.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from atomtune.compare.compare import Comparison, NothingCompared
from atomtune.compare.options import CompareOptions
from atomtune.compare.table import FIGURES, Run, lines
from atomtune.compare.variants import Variant
from atomtune.errors import UsageError, excerpt
from atomtune.files.atomic import write_text
from atomtune.files.untrusted_json import read_json

FIRST = (-1, 0, 1)
"""Where a sweep begins, in steps of about √10 from the method's own rate."""

RULE = "the greatest mean worth (docs/evaluation.md) of rates about √10 apart, as many for every variant at most"

Compare = Callable[[CompareOptions], Comparison]


@dataclass(frozen=True)
class Try:
    """A rate of a variant, and its means over the concepts; those of the measures where no run failed."""

    place: int
    lr: float
    worth: float
    figures: dict[str, float]


def rate(variant: Variant, place: int) -> float:
    """The method's own rate times 10^(place/2), rounded to one digit: 1, 3, 10, 30, …"""
    factor = 10.0 ** (place // 2) * (3.0 if place % 2 else 1.0)
    return float(f"{variant.learning_rate * factor:.6g}")


def sweep(options: CompareOptions, budget: int, compare: Compare) -> dict[str, list[Try]]:
    """Try rates for every variant; `options` are of the concepts to try them on, with the folder for all of it.

    Args:
        budget: rates that a variant has at most; 3 or more.
    """
    tried: dict[str, list[Try]] = {variant.name: [] for variant in options.variants}
    for place in FIRST:
        _try(options, options.variants, place, tried, compare)
    while True:
        wanted: dict[int, list[Variant]] = {}
        for variant in options.variants:
            found = tried[variant.name]
            if len(found) < budget and (further := _beyond(found)) is not None:
                wanted.setdefault(further, []).append(variant)
        if not wanted:
            return tried
        for place, variants in wanted.items():
            _try(options, variants, place, tried, compare)


def best(found: Sequence[Try]) -> Try:
    """The one of greatest worth; of equals, the one nearest to the method's own rate."""
    return max(found, key=lambda one: (one.worth, -abs(one.place)))


def _beyond(found: Sequence[Try]) -> int | None:
    """The place to try next: beyond the best, where that is at an end; None where it lies between others."""
    places, place = [one.place for one in found], best(found).place
    if place == max(places):
        return place + 1
    return place - 1 if place == min(places) else None


def _try(
    options: CompareOptions, variants: Sequence[Variant], place: int, tried: dict[str, list[Try]], compare: Compare
) -> None:
    rates = {variant.name: rate(variant, place) for variant in variants}
    # a rate that is too high to be allowed is as one that fails
    allowed = tuple(variant for variant in variants if rates[variant.name] < 10.0)
    runs: list[Run] = []
    if allowed:
        output = options.output / f"rates{place:+d}"
        with suppress(NothingCompared):
            # the base model's images are the same for every rate
            runs = compare(
                replace(options, variants=allowed, rates=rates, output=output, image_folder=options.output)
            ).runs
    count = len(options.subjects) * len(options.seeds)
    for variant in variants:
        mine = [run for run in runs if run.variant == variant]
        figures = {name: mean.mean for line in lines(mine, [variant]) for name, mean in line.figures.items()}
        worth = sum(run.score.worth for run in mine) / count  # of a run that failed, nothing
        shown = {name: figures[name] for name in FIGURES if name in figures and len(mine) == count}
        tried[variant.name].append(Try(place, rates[variant.name], worth, shown))


def write_rates(
    path: Path, options: CompareOptions, budget: int, tried: dict[str, list[Try]], overwrite: bool = False
) -> dict[str, float]:
    """Write what was tried and chosen beside what `earlier` has of other variants; returns all rates, by variant."""
    kept = earlier(path, options, budget, overwrite)
    rates = kept["rates"] | {name: best(found).lr for name, found in tried.items()}
    ends = [name for name in kept["at_an_end"] if name not in tried]
    tries = {
        name: [{"lr": one.lr, "worth": one.worth, **one.figures} for one in sorted(found, key=lambda t: t.lr)]
        for name, found in tried.items()
    }
    stored: dict[str, Any] = {
        **_settings(options, budget),
        "rates": rates,
        "at_an_end": ends + [name for name, found in tried.items() if _beyond(found) is not None],
        "tried": kept["tried"] | tries,
    }
    write_text(path, json.dumps(stored, indent=2) + "\n")
    return rates


def earlier(path: Path, options: CompareOptions, budget: int, overwrite: bool = False) -> dict[str, Any]:
    """What sweeps of these settings have written: "rates", "at_an_end" and "tried", empty where there was none.

    Raises UsageError where the file is of other settings and not to be overwritten, or no file of rates.
    """
    kept: dict[str, Any] = {"rates": {}, "at_an_end": [], "tried": {}}
    if not path.exists():
        return kept
    read_rates(path)
    stored, settings = read_json(path), _settings(options, budget)
    if any(stored.get(name) != value for name, value in settings.items()):
        if overwrite:
            return kept
        raise UsageError(
            f"{path} is of a sweep with other settings",
            "take another --work, the same --steps, --batch-size and --tries, or --overwrite",
        )
    return {name: stored.get(name, empty) for name, empty in kept.items()}


def _settings(options: CompareOptions, budget: int) -> dict[str, Any]:
    """What the rates of all variants have to have in common."""
    return {
        "rule": RULE,
        "concepts": [subject.concept.name for subject in options.subjects],
        "seeds": list(options.seeds),
        "steps": options.training.steps,
        "batch_size": options.training.batch_size,
        "budget": budget,
    }


def read_rates(path: Path) -> dict[str, float]:
    """Rates by variant, as `write_rates` left them. Raises UsageError where the file holds none."""
    try:
        return {str(name): float(value) for name, value in read_json(path)["rates"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as problem:
        raise UsageError(f"cannot read learning rates from {path}: {excerpt(problem)}", "--sweep writes them") from None


def as_markdown(tried: dict[str, list[Try]]) -> str:
    """What was tried, worth by rate; the one chosen in bold."""
    lines = ["| variant | rate: worth |", "|---|---|"]
    for name, found in tried.items():
        chosen = best(found)
        shown = [f"{one.lr:g}: {one.worth:.3f}" for one in sorted(found, key=lambda one: one.lr)]
        marked = [f"**{text}**" if text.startswith(f"{chosen.lr:g}:") else text for text in shown]
        lines.append(f"| {name} | {', '.join(marked)} |")
    return "\n".join(lines)
