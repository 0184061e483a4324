"""Options of an evaluation."""

from dataclasses import dataclass, field
from pathlib import Path

from ..runtime.option import option, same_as
from ..runtime.options import Options
from ..sampling.options import RUNS, SampleOptions, Settings, TunedModelOptions, trained_concepts
from .prompt_sets import prompt_set

DEFAULT_PROMPTS = "dreambooth_objects.txt"


@dataclass(frozen=True, kw_only=True)
class ScoredOptions(Options, panel="What is scored"):
    """The run that is scored."""

    concept: str | None = option(
        None, "Score the concept of runs/NAME.", metavar="NAME", word="first", completes=trained_concepts
    )
    of: str | None = option(
        None, "Which of several concepts of the run is scored.", shown_default="the first", metavar="NAME"
    )
    run: Path = option(None, "", derived=lambda options: RUNS / (options.concept or ""))
    checkpoints: bool = option(False, "Score every checkpoint, and say which to keep.")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(ScoredOptions, TunedModelOptions, panel="Images"):
    """What to score and how to generate it.

    Attributes:
        run: folder of the training run, that of the concept where it is not given.
        prompts: file with one prompt a line, {} for the concept.
        per_prompt: images of each prompt; image k has the seed `seed` + k.
        checkpoints: score every kept checkpoint too, and choose one; a sheet shows them at `scales`.
        model: another base than the one the atoms were trained on.
    """

    prompts: Path = option(
        None,
        "File with prompts, one a line, {} for the concept.",
        derived=lambda _: prompt_set(DEFAULT_PROMPTS),
        shown_default="DreamBooth's 25 for objects",
        metavar="FILE",
    )
    per_prompt: int = same_as(SampleOptions, "per_prompt", default=4)
    seed: int = same_as(SampleOptions, "seed")
    settings: Settings = field(default=Settings(steps=25))
    scheduler: str | None = same_as(SampleOptions, "scheduler")
    scale: float = option(1.0, "Scale of the concept.", metavar="X")
    scales: tuple[float, ...] = option((0.5, 0.75, 1.0, 1.25), "")
    batch_size: int = same_as(SampleOptions, "batch_size", default=8)
