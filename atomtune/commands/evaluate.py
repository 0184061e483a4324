"""atomtune evaluate: score what was learned, and a report to look at."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..evaluation.options import EvaluateOptions
from ..runtime.option import option
from ..runtime.options import Options
from .console import Console, fields, table

if TYPE_CHECKING:
    from ..evaluation.evaluate import Evaluation

OF_FOLDER = frozenset({"concept", "images", "references", "model", "device", "encoder_path", "output"})
"""Options that mean something for images that are there already."""


@dataclass(frozen=True, kw_only=True)
class EvaluateSource(Options, panel="What is scored"):
    """Images that are there already, in place of a concept."""

    images: Path | None = option(None, "Score the images of this folder instead.", metavar="DIR")
    references: Path | None = option(None, "Images of the concept to score them against.", metavar="DIR")


@dataclass(frozen=True, kw_only=True)
class EncoderOptions(Options, panel="Scoring"):
    """The encoders that embed the images."""

    encoder_path: tuple[str, ...] = option(
        (),
        "Folder of an encoder, as dinov2=DIR, clip=DIR or dino=DIR; without any, all come from the hub.",
        metavar="NAME=DIR",
    )


@dataclass(frozen=True, kw_only=True)
class EvaluateOutput(Options, panel="Output"):
    """Where the report goes."""

    output: Path | None = option(
        None, "Folder for report and images.", shown_default="runs/NAME/evaluation", metavar="DIR"
    )


def evaluate(
    console: Console,
    explicit: frozenset[tuple[str, ...]],
    options: EvaluateOptions,
    source: EvaluateSource,
    encoder: EncoderOptions,
    place: EvaluateOutput,
) -> None:
    """Score a concept: fidelity, diversity, alignment, drift. Writes report.html, images.csv and scores.json.

    Images that are there already are not generated again, so an evaluation that was stopped goes on where it was.

    Examples:
        atomtune evaluate --concept castle
        atomtune evaluate --concept castle --checkpoints --per-prompt 2
        atomtune evaluate --images out --references concepts/castle
    """
    if (options.concept is None) == (source.images is None):
        raise UsageError("say what to score", "--concept NAME, or --images DIR --references DIR")
    _refuse_foreign({path[-1] for path in explicit}, of_folder=source.images is not None)
    from ..evaluation.encoders.base import parse_encoder_paths

    paths = parse_encoder_paths(encoder.encoder_path)
    if source.images is not None:
        _score_folder(console, source.images, source.references, options, paths, place.output)
        return
    from ..evaluation.report import figure_rows, text_rows
    from ..evaluation.score_run import evaluate as score

    result = score(options, place.output, encoder_paths=paths, events=console.events)
    found, measures = result.evaluation, result.evaluation.final.scored.measures
    rows = figure_rows(measures, found.base.measures, found.real)
    measured, facts = table(*text_rows(rows, measures.n)), {**_choice(found), "report": str(result.report)}
    text = f"{measured}\n\n{fields(facts)}"
    console.result({"report": result.report, **result.figures}, text)


def _refuse_foreign(explicit: set[str], of_folder: bool) -> None:
    """Raise UsageError that names the options given which say nothing about what is to be scored."""
    if of_folder:
        what, hint = "--images", "--images scores images that are there already: nothing is generated"
        foreign = explicit - OF_FOLDER
    else:
        what, hint = "--concept", "a concept is scored against the images that it was trained on"
        foreign = explicit & {"references"}
    if foreign:
        named = ", ".join("--" + name.replace("_", "-") for name in sorted(foreign))
        raise UsageError(f"{named} {'does' if len(foreign) == 1 else 'do'} not go with {what}", hint)


def _choice(result: "Evaluation") -> dict[str, str]:
    return {} if result.selected is None else {"keep": result.selected.reason}


def _score_folder(
    console: Console,
    images: Path,
    references: Path | None,
    options: EvaluateOptions,
    paths: dict[str, str],
    output: Path | None,
) -> None:
    from ..evaluation.encoders.base import encoders_for
    from ..evaluation.folder import score_folder
    from ..evaluation.report import REAL, figure_rows, text_rows

    if references is None:
        raise UsageError("--images needs --references", "a folder with images of the concept")
    from ..models.base_model import resolve

    encoders = encoders_for(resolve(options.model).name, paths=paths, device=options.device)
    figures, measures = score_folder(encoders, images, references, output, console.events)
    rows = figure_rows(measures, None, figures["real_fidelity"])
    console.result(figures, table(*text_rows(rows, measures.n, ("images", "", REAL))))
