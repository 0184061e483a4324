"""Score a run and write its report: what `atomtune evaluate` and `atomtune.evaluate` do."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..models.base_model import pick_device, pick_precision
from ..runtime.progress import Events
from .encoders.base import encoders_for
from .evaluate import Evaluation, evaluate_concept
from .options import EvaluateOptions
from .report import REPORT, check_report, write_report


@dataclass(frozen=True)
class ScoredRun:
    """A scored run.

    Attributes:
        report: the page; images.csv and scores.json lie beside it.
        figures: what scores.json holds (docs/json.md).
        evaluation: images, embeddings' figures and checkpoints, as objects.
    """

    report: Path
    figures: dict[str, Any]
    evaluation: Evaluation


def evaluate(
    options: EvaluateOptions,
    output: Path | str | None = None,
    *,
    encoder_paths: Mapping[str, str] | None = None,
    events: Events | None = None,
) -> ScoredRun:
    """Score the concept of a run: fidelity, diversity, alignment and drift (docs/evaluation.md).

    Images that are there already are not generated again.

    Args:
        options: what to score.
        output: folder for report and images; `evaluation` in the run's own folder, without one, or `evaluation-NAME`
            where the concept is named.
        encoder_paths: folders of encoders, by "dinov2", "clip" or "dino"; without any, all come from the hub.

    Raises:
        UsageError: no such run, no prompts, no checkpoints to choose from, or the report would replace another file.
        AtomtuneError: a file, the model or an encoder cannot be loaded, or the concept's images cannot be read.
    """
    own = f"evaluation-{options.of}" if options.of else "evaluation"
    folder = options.run / own if output is None else Path(output)
    check_report(folder)
    evaluation = evaluate_concept(
        options, lambda name: encoders_for(name, paths=encoder_paths, device=options.device), folder, events
    )
    shown: dict[str, Any] = {
        "prompts": options.prompts.name,
        "images of each": options.per_prompt,
        "first seed": options.seed,
        "denoising steps": options.settings.steps,
        "guidance scale": options.settings.guidance_scale,
        "scheduler": options.scheduler or "the model's",
        "scale": options.scale,
        "precision": pick_precision(options.precision, pick_device(options.device)),
    }
    return ScoredRun(folder / REPORT, write_report(evaluation, folder, shown), evaluation)
