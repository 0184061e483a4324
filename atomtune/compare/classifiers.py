"""Compare methods on classifiers: every variant trained and scored on the same classes, from the same seeds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from .. import __version__
from ..errors import AtomtuneError, Interrupted, UsageError, excerpt, without_folders
from ..files.atomic import write_text
from ..files.output_folder import check_replaceable, claim
from ..report.csv_text import csv_text
from ..report.html import render_page
from ..runtime.progress import Events
from ..training.run_folder import RunFolder
from ..training.run_lock import run_lock
from ..vision.classifier import load_classifier
from ..vision.evaluate import evaluate
from ..vision.options import ClassifyOptions, classifier_spec
from ..vision.options import learning_rate as classifier_rate
from ..vision.resume import found_again, same_run
from ..vision.train import train
from .compare import Failure, NothingCompared
from .precision import shared_precision
from .runs import COMPARISON_FILES
from .variants import Variant

PAGE, TABLE, RUNS, FIGURES = COMPARISON_FILES


@dataclass(frozen=True)
class ClassifierRun:
    """One run.

    Attributes:
        parameters: trained ones, the head's included; seconds: of the steps alone.
        accuracy, mean_per_class: on the test images.
    """

    variant: str
    seed: int
    lr: float
    parameters: int
    head_parameters: int
    atoms_bytes: int
    steps: int
    seconds: float
    final_loss: float
    accuracy: float
    standard_error: float
    mean_per_class: float


@dataclass(frozen=True)
class ClassifierLine:
    """A variant over its seeds; `spread` is the standard deviation, 0 for one seed."""

    variant: str
    runs: int
    lr: float
    parameters: int
    accuracy: float
    spread: float
    mean_per_class: float
    seconds: float


@dataclass(frozen=True)
class ClassifierComparison:
    """What a comparison came to; `figures` is what comparison.json and --json hold."""

    report: Path
    lines: list[ClassifierLine]
    failures: list[Failure]
    figures: dict[str, Any]


def for_classifiers(variant: Variant) -> Variant:
    """A variant whose spec is that of classifiers where its name says no layers. Raises UsageError where it has options
    of diffusion models."""
    if variant.train_token or variant.training:
        raise UsageError(f"{excerpt(variant.name)} is for diffusion models", "--task classify takes METHOD:PRESET")
    usual = classifier_spec(variant.method).layers
    is_said = f":{variant.spec.layers}" in variant.name
    is_attention = variant.spec.layers == "attention"
    return replace(variant, spec=replace(variant.spec, layers=usual)) if is_attention and not is_said else variant


def compare_classifiers(
    base: ClassifyOptions,
    variants: Sequence[Variant],
    seeds: Sequence[int],
    rates: Mapping[str, float],
    test: Path,
    output: Path,
    *,
    overwrite: bool = False,
    events: Events | None = None,
) -> ClassifierComparison:
    """Train and score what is missing, and write page, tables and figures into `output`.

    Args:
        base: what the runs have in common; its method, spec, learning rate and seed are ignored.
        rates: learning rates by the variants' names, in place of the methods' own for classifiers.
        test: labelled images that the runs are scored on.
        overwrite: train those runs again that were trained otherwise.

    Raises UsageError where runs on disk were trained otherwise or files of others would be replaced, NothingCompared
    where all runs failed, AtomtuneError and Interrupted as `train`.
    """
    events = events or Events()
    check_replaceable(output, COMPARISON_FILES)
    variants = [for_classifiers(variant) for variant in variants]
    runs: list[ClassifierRun] = []
    failures: list[Failure] = []
    with run_lock(output, "compare"):
        folders = [output / f"seed-{seed}" / variant.folder for seed in seeds for variant in variants]
        base = replace(base, precision=shared_precision(base.precision, base.device, folders))
        for seed in seeds:
            for variant in variants:
                rate = rates.get(variant.name, classifier_rate(variant.method))
                options = replace(base, method=variant.method, spec=variant.spec, lr=rate, seed=seed)
                folder = output / f"seed-{seed}" / variant.folder
                try:
                    _train_missing(options, folder, overwrite, events)
                    runs.append(_scored(variant, options, folder, test, events))
                except (Interrupted, UsageError):
                    raise
                except AtomtuneError as problem:
                    events.end()
                    events.warn(f"seed {seed}, {variant.name}: {problem.message}")
                    failures.append(Failure(base.name, seed, variant.name, excerpt(problem.message, 300)))
        if not runs:
            raise NothingCompared(failures)
        lines = [_line([run for run in runs if run.variant == name]) for name in dict.fromkeys(r.variant for r in runs)]
        figures = {
            "task": "classify",
            "model": base.model,
            "seeds": list(seeds),
            "variants": [asdict(line) for line in lines],
            "runs": [asdict(run) for run in runs],
            "failures": [asdict(replace(one, reason=without_folders(one.reason))) for one in failures],
            "settings": {name: getattr(base, name) for name in _COMMON},
        }
        claim(output, COMPARISON_FILES)
        write_text(output / FIGURES, json.dumps(figures, indent=2) + "\n")
        write_text(output / TABLE, csv_text([asdict(line) for line in lines], ["variant"]))
        write_text(output / RUNS, csv_text([asdict(run) for run in runs], ["variant"]))
        write_text(output / PAGE, render_page("compare_classifiers.html", **figures, version=__version__))
    return ClassifierComparison(output / PAGE, lines, failures, figures)


_COMMON = (
    *("epochs", "batch_size", "augment", "optimizer", "lr_scheduler", "warmup_share", "weight_decay"),
    *("label_smoothing", "image_size", "precision"),
)


def _train_missing(options: ClassifyOptions, folder: Path, overwrite: bool, events: Events) -> None:
    run = RunFolder(folder)
    if not run.is_finished():
        train(options, folder, overwrite=overwrite and run.holds_run(), events=events)
        return
    record = run.read_record()
    stored = found_again(ClassifyOptions.from_dict(record.get("options", {})), folder, record)
    try:
        same_run(stored, options, folder)
    except UsageError as problem:
        if not overwrite:
            differing = "; ".join(problem.message.splitlines()[1:])
            raise UsageError(
                f"{folder} was trained with other options: {differing}", "--overwrite trains it again, or --output"
            ) from None
        train(options, folder, overwrite=True, events=events)


def _scored(variant: Variant, options: ClassifyOptions, folder: Path, test: Path, events: Events) -> ClassifierRun:
    result = RunFolder(folder).read_record()["result"]
    classifier = load_classifier(
        None, folder, weights=options.weights, device=options.device, batch_size=options.batch_size, events=events
    )
    scores = evaluate(classifier, test, folder / "evaluation", events).scores
    taken = ("head_parameters", "atoms_bytes", "steps", "seconds", "final_loss")
    return ClassifierRun(
        variant=variant.name,
        seed=options.seed,
        lr=options.lr,
        parameters=result["trainable_parameters"],
        **{name: result[name] for name in taken},
        accuracy=scores.accuracy,
        standard_error=scores.standard_error,
        mean_per_class=scores.mean_per_class,
    )


def _line(runs: Sequence[ClassifierRun]) -> ClassifierLine:
    return ClassifierLine(
        variant=runs[0].variant,
        runs=len(runs),
        lr=runs[0].lr,
        parameters=runs[0].parameters - runs[0].head_parameters,
        accuracy=mean(run.accuracy for run in runs),
        spread=stdev(run.accuracy for run in runs) if len(runs) > 1 else 0.0,
        mean_per_class=mean(run.mean_per_class for run in runs),
        seconds=mean(run.seconds for run in runs),
    )
