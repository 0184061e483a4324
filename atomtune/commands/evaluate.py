"""atomtune evaluate: score what was learned, and a report to look at."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from .console import Console, fields
from .drawing import IMAGES, BatchSize, FirstSeed, GuidanceScale, Scheduler, Steps, TunedModel
from .shared import OUTPUT, Device, Precision, learned_concepts

if TYPE_CHECKING:
    from ..evaluate.evaluate import Evaluation

WHAT, SCORING = "What", "Scoring"
DEFAULT_PROMPTS = "dreambooth_objects.txt"
OF_FOLDER = frozenset({"images", "references", "model", "device", "encoder_path", "output"})
"""Parameters that mean something for images that are there already."""

EncoderPath = Annotated[
    list[str] | None,
    typer.Option(
        help="Where an encoder lies, as dinov2=DIR, clip=DIR or dino=DIR. Without any, all come from the hub.",
        metavar="NAME=DIR",
        rich_help_panel=SCORING,
    ),
]


def evaluate(
    console: Console,
    explicit: frozenset[str],
    concept: Annotated[
        str | None,
        typer.Option(
            help="Score the concept of runs/NAME.",
            metavar="NAME",
            autocompletion=learned_concepts,
            rich_help_panel=WHAT,
        ),
    ] = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Score every checkpoint, and say which to keep.", rich_help_panel=WHAT)
    ] = False,
    images: Annotated[
        Path | None,
        typer.Option(help="Or score the images of this folder.", metavar="DIR", rich_help_panel=WHAT),
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(help="Against those of this one.", metavar="DIR", rich_help_panel=WHAT),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help=r"Prompts, one a line, {} for the concept. \[default: DreamBooth's 25 for objects]",
            metavar="FILE",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    per_prompt: Annotated[
        int, typer.Option(min=1, metavar="N", help="Images of each prompt.", rich_help_panel=IMAGES)
    ] = 4,
    seed: FirstSeed = 0,
    steps: Steps = 25,
    guidance_scale: GuidanceScale = 7.5,
    scheduler: Scheduler = None,
    scale: Annotated[float, typer.Option(metavar="X", help="Strength of the concept.", rich_help_panel=IMAGES)] = 1.0,
    batch_size: BatchSize = 8,
    model: TunedModel = None,
    device: Device = None,
    precision: Precision = "fp32",
    encoder_path: EncoderPath = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help=r"Folder for report and images. \[default: runs/NAME/evaluation]",
            metavar="DIR",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """Score a concept: fidelity, diversity, alignment, drift. Writes report.html, images.csv and scores.json.

    Images that are there already are not drawn again, so an evaluation that was stopped goes on where it was.
    """
    if (concept is None) == (images is None):
        raise UsageError("say what to score", "--concept NAME, or --images DIR --references DIR")
    _refuse_strangers(explicit, of_folder=images is not None)
    from ..evaluate.encoders.base import encoders_for, parse_encoder_paths

    paths = parse_encoder_paths(encoder_path or [])
    if images is not None:
        _score_folder(console, images, references, model, paths, device, output)
        return
    from ..evaluate.evaluate import evaluate_concept
    from ..evaluate.inputs import EvaluateOptions
    from ..evaluate.prompt_sets import prompt_set
    from ..evaluate.report import REPORT, check_report, measures_text, write_report
    from ..sampling.generate import Settings

    run = Path("runs") / str(concept)
    folder = output or run / "evaluation"
    check_report(folder)
    options = EvaluateOptions(
        run=run,
        prompts=prompts or prompt_set(DEFAULT_PROMPTS),
        per_prompt=per_prompt,
        seed=seed,
        settings=Settings(steps=steps, guidance_scale=guidance_scale),
        scheduler=scheduler,
        checkpoints=checkpoints,
        scale=scale,
        model=model,
        device=device,
        precision=precision,
        batch_size=batch_size,
    )
    result = evaluate_concept(
        options, lambda name: encoders_for(name, paths=paths, device=device), folder, console.events
    )
    shown: dict[str, Any] = {
        "prompts": options.prompts.name,
        "images of each": per_prompt,
        "first seed": seed,
        "denoising steps": steps,
        "guidance scale": guidance_scale,
        "scheduler": scheduler or "the model's",
        "strength": scale,
    }
    figures = write_report(result, folder, shown)
    text = {"report": str(folder / REPORT), **measures_text(result.final.scored.measures), **_choice(result)}
    console.result({"report": folder / REPORT, **figures}, fields(text))


def _refuse_strangers(explicit: frozenset[str], of_folder: bool) -> None:
    """Raise UsageError that names the options given which say nothing about what is to be scored."""
    if of_folder:
        what, hint = "--images", "--images scores images that are there already: nothing is drawn"
        strangers = explicit - OF_FOLDER
    else:
        what, hint = "--concept", "a concept is scored against the images that it was trained on"
        strangers = explicit & {"references"}
    if strangers:
        named = ", ".join("--" + name.replace("_", "-") for name in sorted(strangers))
        raise UsageError(f"{named} {'does' if len(strangers) == 1 else 'do'} not go with {what}", hint)


def _choice(result: "Evaluation") -> dict[str, str]:
    return {} if result.selected is None else {"keep": result.selected.reason}


def _score_folder(
    console: Console,
    images: Path,
    references: Path | None,
    model: str | None,
    paths: dict[str, str],
    device: str | None,
    output: Path | None,
) -> None:
    from ..evaluate.encoders.base import encoders_for
    from ..evaluate.folder import score_folder
    from ..evaluate.report import measures_text

    if references is None:
        raise UsageError("--images needs --references", "a folder with images of the concept")
    from ..models.base_model import resolve

    encoders = encoders_for(resolve(model).name, paths=paths, device=device)
    figures, measures = score_folder(encoders, images, references, output, console.events)
    console.result(figures, fields(measures_text(measures)))
