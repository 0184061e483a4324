"""The report of an evaluation: one HTML file with everything inside, a CSV of the images, and the figures as JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from .. import __version__
from ..files.atomic import write_text
from ..files.output_folder import check_replaceable, claim
from ..report.charts import Point, line_chart, loss_curve, scatter_chart
from ..report.csv_text import csv_text
from ..report.html import render_page
from .encoders.base import public_name
from .evaluate import Evaluation, Step, scored_rows
from .measure import ENOUGH_FOR_FID, Measures

REPORT, TABLE, FIGURES = FILES = ("report.html", "images.csv", "scores.json")
_EXTREMES = 4
_FEW = 100  # images, whose mean says nothing beyond the second decimal

OURS, BASE, REAL = "with the concept", "base model", "real images"
"""The columns of figures."""

DISTANCES = ("fid", "fd_dinov2")
"""Figures that few images make larger."""

MEANINGS = {
    "fidelity": ("Fidelity", "how much the images are of this very thing: mean cosine with the concept's images"),
    "diversity": (
        "Diversity",
        "Vendi score: how many different images there are: from 1, all alike, to n",
    ),
    "diversity_per_prompt": ("Diversity within a prompt", "the same, among the images of one prompt"),
    "alignment": ("Alignment", "how well the images show their prompt: mean cosine of image and text"),
    "dino": ("DINO", "fidelity in the space of DINO ViT-S/16, as in DreamBooth"),
    "clip_i": ("CLIP-I", "fidelity in CLIP's space, as in DreamBooth"),
    "drift": ("Drift", "how far images of prompts without the concept have moved from the base model's; 0 is best"),
    "confusion": (
        "Confusion",
        "share of the images that are nearer to another concept of the run than to this one; 0 is best",
    ),
    "kid": ("KID", "kernel distance to the references; 0 is best"),
    "fd_dinov2": ("FD-DINOv2", "Fréchet distance to the references in the space of diversity; 0 is best"),
    "fid": ("FID", "Fréchet distance to the references in Inception’s space; 0 is best"),
}


def check_report(output: Path) -> None:
    """Raise UsageError where a report in `output` would replace what `write_report` did not write."""
    check_replaceable(output, FILES, _made_by_0_1(output))


def _made_by_0_1(output: Path) -> bool:
    return any((output / "images").glob("*/key.json"))


def write_report(evaluation: Evaluation, output: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Write report.html, images.csv and scores.json into `output`; returns what scores.json holds.

    Args:
        settings: how the images were generated, by name, for the page.

    Raises AtomtuneError where they cannot be written, UsageError as `check_report`.
    """
    figures = as_figures(evaluation)
    claim(output, FILES, _made_by_0_1(output))
    write_text(output / FIGURES, json.dumps(figures, indent=2) + "\n")
    write_text(
        output / TABLE, csv_text([row for step in evaluation.steps for row in scored_rows(step, output)], ["file"])
    )
    write_text(output / REPORT, render_page("report.html", **page_values(evaluation, settings)))
    return figures


def as_figures(evaluation: Evaluation) -> dict[str, Any]:
    """The figures by name, as documented in docs/json.md."""
    selected = evaluation.selected
    return {
        "concept": evaluation.concept.name,
        "step": evaluation.final.step,
        **evaluation.final.scored.measures.as_dict(),
        "real_fidelity": evaluation.real,
        "base": evaluation.base.measures.as_dict(),
        "encoders": {
            "fidelity": public_name(evaluation.encoders.fidelity.name),
            "diversity": public_name(evaluation.encoders.diversity.name),
            "alignment": public_name(evaluation.encoders.alignment.name),
            "dino": public_name(evaluation.encoders.dino.name) if evaluation.encoders.dino else None,
        },
        "preprocessing": evaluation.encoders.fidelity.preprocessing,
        "checkpoints": [{"step": step.step, **step.scored.measures.as_dict()} for step in evaluation.steps],
        "selected": None
        if selected is None
        else {
            "step": selected.step,
            "front": list(selected.front),
            "worth": {str(step): round(value, 6) for step, value in selected.worth.items()},
            "reason": selected.reason,
        },
    }


def page_values(evaluation: Evaluation, settings: dict[str, Any]) -> dict[str, Any]:
    """What the template is filled with."""
    final, info = evaluation.final, evaluation.final.atoms.info
    prompts = list(dict.fromkeys(image.prompt for image in final.images))
    return {
        "concept": evaluation.concept,
        "references": evaluation.references,
        "table": figure_rows(final.scored.measures, evaluation.base.measures, evaluation.real),
        "columns": (OURS, BASE, REAL),
        "rows": [
            {
                "prompt": prompt,
                "base": [image.load() for image in evaluation.base_images if image.prompt == prompt],
                "ours": [image.load() for image in final.images if image.prompt == prompt],
            }
            for prompt in prompts
        ],
        "extremes": _extremes(final),
        "drift": _drift(evaluation),
        "loss": loss_curve(evaluation.losses, list(evaluation.held_out.items())) if evaluation.losses else "",
        "charts": _charts(evaluation) if len(evaluation.steps) > 1 else [],
        "steps": _steps(evaluation) if len(evaluation.steps) > 1 else [],
        "selected": evaluation.selected,
        "scale_grid": [Image.open(evaluation.scale_grid).convert("RGB")] if evaluation.scale_grid else [],
        "info": info,
        "settings": settings,
        "encoders": {
            name: public_name(getattr(evaluation.encoders, name).name)
            for name in ("fidelity", "diversity", "alignment")
        },
        "preprocessing": evaluation.encoders.fidelity.preprocessing,
        "n": final.scored.measures.n,
        "digits": digits(final.scored.measures.n),
        "has_distances": any(getattr(final.scored.measures, name, None) is not None for name in DISTANCES),
        "enough_for_fid": ENOUGH_FOR_FID,
        "version": __version__,
    }


@dataclass(frozen=True)
class FigureRow:
    """A measure, as page and terminal show it: of the images, of the base model's, and of real ones."""

    title: str
    meaning: str
    ours: float
    base: float | None
    real: float | None


def figure_rows(ours: Measures, base: Measures | None, real: float | None) -> list[FigureRow]:
    """The measures that are known. `real` is the fidelity of the concept's images to each other."""
    values = {name: getattr(ours, name) for name in MEANINGS}
    return [
        FigureRow(*MEANINGS[name], value, getattr(base, name, None), real if name == "fidelity" else None)
        for name, value in values.items()
        if value is not None
    ]


def text_rows(
    rows: Sequence[FigureRow], images: int, names: Sequence[str] = (OURS, BASE, REAL)
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the measures for the terminal, with the words, the columns and the digits of the page.

    Args:
        images: how many were measured.
        names: of the columns; of those without a figure nothing is shown.
    """
    form = digits(images)
    columns = [[form % value if value is not None else "" for value in (row.ours, row.base, row.real)] for row in rows]
    shown = [k for k in range(len(names)) if any(cells[k] for cells in columns)]
    cells = [[row.title.lower(), *(cells[k] for k in shown)] for row, cells in zip(rows, columns, strict=True)]
    return ["", *(names[k] for k in shown)], cells


def _extremes(step: Step) -> list[dict[str, Any]]:
    """The best and the worst images by each measure."""
    found = []
    for title, values in (("fidelity", step.scored.fidelity), ("alignment", step.scored.alignment)):
        known = zip(values.tolist(), step.images, strict=True)
        ordered = sorted((pair for pair in known if pair[0] == pair[0]), key=lambda pair: -pair[0])
        if len(ordered) < 2:
            continue
        count = min(_EXTREMES, len(ordered) // 2)
        for kind, some in (("best", ordered[:count]), ("worst", ordered[-count:])):
            shown = [{"image": p.load(), "prompt": p.prompt, "seed": p.seed, "value": value} for value, p in some]
            found.append({"title": f"{kind} {title}", "images": shown})
    return found


def _drift(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Images of prompts without the concept: the base model's and the tuned one's."""
    root = {image.prompt: image for image in evaluation.base_drift}
    return [
        {"prompt": image.prompt, "base": root[image.prompt].load(), "ours": image.load()}
        for image in evaluation.final.drift
    ]


def _charts(evaluation: Evaluation) -> list[str]:
    """Scores over the steps, and fidelity against what is to be kept."""
    selected = evaluation.selected
    assert selected is not None

    def points(name: str) -> list[Point]:
        return [
            Point(step.step, value, strong=step.step == selected.step)
            for step in evaluation.steps
            if (value := getattr(step.scored.measures, name)) is not None
        ]

    charts = []
    for name in ("fidelity", "diversity", "alignment", "drift"):
        levels = [("base model", value)] if (value := getattr(evaluation.base.measures, name)) is not None else []
        if name == "fidelity" and evaluation.real is not None:
            levels.append(("real images", evaluation.real))
        if points(name):
            charts.append(line_chart(points(name), "steps", MEANINGS[name][0].lower(), levels))
    for name in ("diversity", "alignment"):
        against = [
            Point(step.scored.measures.fidelity or 0.0, value, f"step {step.step}", step.step == selected.step)
            for step in evaluation.steps
            if (value := getattr(step.scored.measures, name)) is not None
        ]
        front = [i for i, step in enumerate(evaluation.steps) if step.step in selected.front]
        if len(against) == len(evaluation.steps):
            charts.append(scatter_chart(against, "fidelity", MEANINGS[name][0].lower(), front))
    return charts


def _steps(evaluation: Evaluation) -> list[dict[str, Any]]:
    """A row for each checkpoint: figures and the first image of some prompts."""
    assert evaluation.selected is not None
    rows = []
    for step in evaluation.steps:
        firsts = {image.prompt: image for image in reversed(step.images)}
        rows.append(
            {
                "step": step.step,
                "measures": step.scored.measures,
                "worth": evaluation.selected.worth[step.step],
                "on_front": step.step in evaluation.selected.front,
                "chosen": step.step == evaluation.selected.step,
                "images": [image.load() for image in list(firsts.values())[-_EXTREMES:]],
            }
        )
    return rows


def digits(images: int) -> str:
    """The format of a figure that so many images allow: two decimals up to a hundred, three for more."""
    return "%.2f" if images <= _FEW else "%.3f"
