"""The files of a comparison: a self-contained HTML page, the table and the runs as CSV, everything as JSON."""

import base64
import io
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image

from .. import __version__
from ..data.images import load_images
from ..errors import without_folders
from ..evaluation.encoders.base import public_name
from ..evaluation.report import MEANINGS
from ..files.atomic import write_text
from ..files.output_folder import claim
from ..methods import METHODS
from ..report.charts import Cloud, cloud_chart
from ..report.csv_text import csv_text
from ..report.html import render_page
from ..runtime.units import size
from ..sampling.generate import GeneratedImage
from ..training.options import TrainOptions
from .compare import Comparison, Failure
from .curve_charts import curve_charts, curve_rows
from .options import Subject, jobs_of
from .runs import COMPARISON_FILES, made_by_0_1
from .table import (
    FIGURES,
    SCENES,
    Difference,
    Line,
    Reference,
    Run,
    columns,
    differences,
    flat,
    line_row,
    lines,
    reference,
    run_row,
)

PAGE, TABLE, RUNS, FIGURES_FILE = COMPARISON_FILES

_PROMPTS = 8  # of each concept on the page
_THUMBNAIL = 144  # pixels

_COMMON = (
    *("batch_size", "grad_accum", "resolution", "crop", "flip", "precision", "optimizer", "weight_decay"),
    *("lr_scheduler", "max_grad_norm", "prompt"),
)
"""Options of training that all runs have in common, for the page."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table; `value` is what it is sorted by."""

    text: str
    value: float | str | None = None
    number: bool = True


def write_comparison(comparison: Comparison) -> dict[str, Any]:
    """Write page, tables and figures into the comparison's folder; returns what the JSON holds."""
    output = comparison.options.output
    table, against = lines(comparison.runs, comparison.options.variants), reference(comparison.runs)
    figures = as_figures(comparison, table, against)
    claim(output, COMPARISON_FILES, made_by_0_1(comparison.options))
    write_text(output / FIGURES_FILE, json.dumps(figures, indent=2) + "\n")
    write_text(output / TABLE, csv_text([flat(line) for line in table], ["variant"]))
    write_text(output / RUNS, csv_text([run_row(run) for run in comparison.runs], ["variant"]))
    write_text(output / PAGE, render_page("compare.html", **page_values(comparison, table, against)))
    return figures


def as_figures(comparison: Comparison, table: Sequence[Line], against: Reference) -> dict[str, Any]:
    """Everything by name, as documented in docs/json.md."""
    options, first = comparison.options, comparison.runs[0].score
    return {
        "concepts": [subject.concept.name for subject in options.subjects],
        "seeds": list(options.seeds),
        "model": comparison.model,
        "base_fingerprint": comparison.base_fingerprint,
        "variants": [line_row(line) for line in table],
        "base": {name: {"mean": value.mean, "spread": value.spread} for name, value in against.base.items()},
        "real_fidelity": None if against.real is None else against.real.mean,
        "differences": [_difference_row(found, options.variants[0].name) for found in _differences(comparison)],
        "runs": [run_row(run) | {"curve": curve_rows(run)} for run in comparison.runs],
        "failures": [vars(failure) for failure in _public_failures(comparison)],
        "encoders": _public_names(first.encoders),
        "preprocessing": first.preprocessing,
        "settings": settings_of(comparison),
    }


def _public_failures(comparison: Comparison) -> list[Failure]:
    """Why runs failed, without the folders of this machine."""
    return [replace(failure, reason=without_folders(failure.reason)) for failure in comparison.failures]


def _public_names(encoders: Mapping[str, str]) -> dict[str, str]:
    return {measure: public_name(name) for measure, name in encoders.items()}


def _differences(comparison: Comparison) -> list[Difference]:
    return differences(comparison.runs, comparison.options.variants)


def _difference_row(found: Difference, first: str) -> dict[str, Any]:
    figures = {name: {"mean": mean, "error": error, "pairs": n} for name, (mean, error, n) in found.figures.items()}
    return {"variant": found.variant.name, "over": first, **figures}


def settings_of(comparison: Comparison) -> dict[str, Any]:
    """How runs were trained and images generated."""
    options = comparison.options
    training: TrainOptions = jobs_of(options)[0].options
    scoring = options.scoring
    return {
        "base model": comparison.model,
        **{name.replace("_", " "): getattr(training, name) for name in _COMMON},
        **{name.replace("_", " "): getattr(options.training, name) for name in ("steps", "preserve")},
        "training seeds": ", ".join(map(str, options.seeds)),
        "prompts": ", ".join(dict.fromkeys(subject.prompts.name for subject in options.subjects)),
        "images of each prompt": scoring.per_prompt,
        "first seed of the images": scoring.seed,
        "denoising steps": scoring.settings.steps,
        "guidance scale": scoring.settings.guidance_scale,
        "scheduler": scoring.scheduler or "the model's",
        "machine": _machine(),
        "versions": f"atomtune {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
    }


def _machine() -> str:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{platform.machine()}, {torch.get_num_threads()} threads, {gpu}"


def page_values(comparison: Comparison, table: Sequence[Line], against: Reference) -> dict[str, Any]:
    """What the template is filled with."""
    runs, options = comparison.runs, comparison.options
    named = columns(table)
    colors = {line.variant.name: _color(i, len(table)) for i, line in enumerate(table)}
    return {
        "concepts": [subject.concept.name for subject in options.subjects],
        "seeds": options.seeds,
        "model": comparison.model,
        "runs": len(runs),
        "header": ["variant", "runs", "rate", *map(_title, named), "parameters", "file", "training, s", "peak memory"],
        "references": list(_reference_rows(against, named)),
        "table": [_table_row(line, named) for line in table],
        "colors": [colors[line.variant.name] for line in table],
        "first": options.variants[0].name,
        "difference_header": ["variant", *map(_title, named)],
        "differences": [_difference_cells(found, named) for found in _differences(comparison)],
        "charts": [_chart(name, runs, table, against, colors) for name in ("diversity", "alignment")],
        "curves": curve_charts(runs, table, against, colors),
        "scales": [f"{scale:g}" for scale in sorted({0.0, 1.0, *options.scales})],
        "grids": [_grid(subject, comparison, table) for subject in options.subjects],
        "run_header": [
            "concept",
            "seed",
            "variant",
            "rate",
            *map(_title, named),
            "final loss",
            "training, s",
            "memory",
        ],
        "run_rows": [_run_cells(run, named) for run in runs],
        "failures": _public_failures(comparison),
        "meanings": [MEANINGS[name] for name in FIGURES],
        "scenes": SCENES in named,
        "titles": {line.variant.name: METHODS[line.variant.method].title for line in table},
        "encoders": _public_names(runs[0].score.encoders),
        "preprocessing": runs[0].score.preprocessing,
        "settings": settings_of(comparison),
        "version": __version__,
    }


def _title(name: str) -> str:
    return name.replace("_", " ")


def _color(number: int, count: int) -> str:
    return f"hsl({round(360 * number / count)} 60% 48%)"


def _digits(name: str) -> int:
    return 2 if name == "diversity" else 3


def _reference_rows(against: Reference, named: Sequence[str]) -> Iterator[list[str]]:
    """The rows that are not sorted: base model and real images, as text."""
    base = [against.base[name].text(_digits(name)) if name in against.base else "" for name in named]
    yield ["base model", "", "", *base, "", "", "", ""]
    if against.real is not None:
        yield ["real images", "", "", against.real.text(), *([""] * (len(named) + 3))]


def _table_row(line: Line, named: Sequence[str]) -> list[Cell]:
    cells = [
        Cell(line.variant.name, line.variant.name, number=False),
        Cell(str(line.runs), line.runs),
        Cell(f"{line.learning_rate:g}", line.learning_rate),
    ]
    for name in named:
        mean = line.figures.get(name)
        cells.append(Cell("", None) if mean is None else Cell(mean.text(_digits(name)), mean.mean))
    seconds = line.figures["seconds"]
    return [
        *cells,
        Cell(f"{line.parameters:,}", line.parameters),
        Cell(size(line.atoms_bytes), line.atoms_bytes),
        Cell(seconds.text(1), seconds.mean),
        Cell("" if line.peak is None else size(line.peak), line.peak),
    ]


def _difference_cells(found: Difference, named: Sequence[str]) -> list[Cell]:
    cells = [Cell(found.variant.name, found.variant.name, number=False)]
    for name in named:
        mean, error, _ = found.figures.get(name, (None, None, 0))
        digits = _digits(name)
        text = "" if mean is None else f"{mean:+.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")
        cells.append(Cell(text, mean))
    return cells


def _run_cells(run: Run, named: Sequence[str]) -> list[Cell]:
    made = run.trained
    peak = made.gpu_peak_bytes if made.gpu_peak_bytes is not None else made.peak_bytes
    values = {name: run.figure(name) for name in named}
    return [
        Cell(run.concept, run.concept, number=False),
        Cell(str(run.seed), run.seed),
        Cell(run.variant.name, run.variant.name, number=False),
        Cell(f"{run.learning_rate:g}", run.learning_rate),
        *(Cell("" if v is None else f"{v:.{_digits(name)}f}", v) for name, v in values.items()),
        Cell(f"{made.final_loss:.4f}", made.final_loss),
        Cell(f"{made.seconds:.1f}", made.seconds),
        Cell("" if peak is None else size(peak), peak),
    ]


def _chart(name: str, runs: Sequence[Run], table: Sequence[Line], against: Reference, colors: dict[str, str]) -> str:
    """Fidelity against another measure: a point a run, a mark a variant, the base model and real images."""
    clouds = []
    for line in table:
        if "fidelity" not in line.figures or name not in line.figures:
            continue
        mine = [run for run in runs if run.variant == line.variant]
        points = [
            (run.figure("fidelity") or 0.0, run.figure(name) or 0.0, f"{run.variant.name}: {run.concept}, {run.seed}")
            for run in mine
        ]
        middle = (line.figures["fidelity"].mean, line.figures[name].mean)
        clouds.append(Cloud(line.variant.name, middle, points, colors[line.variant.name]))
    if "fidelity" in against.base and name in against.base:
        clouds.append(Cloud("base model", (against.base["fidelity"].mean, against.base[name].mean), hollow=True))
    marks = [("real images", against.real.mean)] if against.real is not None else []
    return cloud_chart(clouds, "fidelity", name, marks)


def _grid(subject: Subject, comparison: Comparison, table: Sequence[Line]) -> dict[str, Any]:
    """One concept: its images, and prompts × variants, the first image of each, of the first seed that is there."""
    firsts: dict[str, Run] = {}
    for run in comparison.runs:
        if run.concept == subject.concept.name:
            firsts.setdefault(run.variant.name, run)
    shown = [firsts[line.variant.name] for line in table if line.variant.name in firsts]
    training = jobs_of(comparison.options)[0].options
    training_images = load_images(
        subject.images, training.resolution or 0, crop=training.crop, seed=comparison.options.seeds[0]
    )
    base = _first_of_each(shown[0].score.base_images) if shown else {}
    prompts = _spread(list(base), _PROMPTS)
    columns = [_first_of_each(run.score.images) for run in shown]
    return {
        "name": subject.concept.name,
        "words": subject.concept.words,
        "references": [thumbnail(image.image) for image in training_images],
        "columns": ["base model", *(run.variant.name for run in shown)],
        "fidelity": [shown[0].score.base.fidelity, *(run.figure("fidelity") for run in shown)] if shown else [],
        "rows": [
            {
                "prompt": prompt,
                "images": [thumbnail(firsts_of[prompt].load()) for firsts_of in (base, *columns)],
            }
            for prompt in prompts
        ],
        "left_out": len(base) - len(prompts),
    }


def _first_of_each(images: Sequence[GeneratedImage]) -> dict[str, GeneratedImage]:
    """The first image of each prompt, by the prompt."""
    firsts: dict[str, GeneratedImage] = {}
    for image in images:
        firsts.setdefault(image.prompt, image)
    return firsts


def _spread(items: list[str], most: int) -> list[str]:
    """At most so many, evenly from all of them."""
    if len(items) <= most:
        return items
    return [items[i * len(items) // most] for i in range(most)]


def thumbnail(image: Image.Image) -> str:
    """An image in a data: address, as a JPEG of a few kilobytes: a page holds hundreds of them."""
    small = image.convert("RGB").resize((_THUMBNAIL, _THUMBNAIL * image.height // image.width), _LANCZOS)
    stream = io.BytesIO()
    small.save(stream, format="JPEG", quality=86, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


_LANCZOS = Image.Resampling.LANCZOS
