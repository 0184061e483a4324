"""atomtune compare: tuning methods on the same concepts, and the table of what they come to."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import AtomtuneError, UsageError
from .console import Console, table
from .drawing import IMAGES, GuidanceScale, Scheduler
from .evaluate import DEFAULT_PROMPTS, EncoderPath
from .shared import CONCEPT, METHOD, OUTPUT, Device, Model, Precision, Prompt, Resolution, Token
from .training import TRAINING, BatchSize, GradAccum, GradientCheckpointing, LowMemory, LrScheduler, Steps

if TYPE_CHECKING:
    from ..compare.compare import Comparison
    from ..compare.options import Subject
    from ..data.concept import Concept


def compare(
    console: Console,
    concept: Annotated[
        list[str] | None,
        typer.Option(
            help="Teach the concept of concepts/NAME, a NOUN to the base model; give it again for more.",
            metavar="NAME[=NOUN]",
            rich_help_panel=CONCEPT,
        ),
    ] = None,
    concepts: Annotated[
        str | None,
        typer.Option(help="The same for several, separated by commas.", metavar="A,B=NOUN,…", rich_help_panel=CONCEPT),
    ] = None,
    token: Token = "sks",
    prompt: Prompt = "a photo of a {}",
    methods: Annotated[
        str,
        typer.Option(
            help="Variants METHOD[:PRESET or layers], separated by commas, as atoms:c2,lora:attention,full; "
            "all is the paper's table. docs/comparison.md has the grammar.",
            metavar="A,B,…",
            rich_help_panel=METHOD,
        ),
    ] = "atoms:c2,atoms:c3,lora",
    lr: Annotated[
        list[str] | None,
        typer.Option(
            help=r"Learning rate of a method or a variant; give it again for more. \[default: the methods' own]",
            metavar="METHOD=X",
            rich_help_panel=METHOD,
        ),
    ] = None,
    seeds: Annotated[
        str, typer.Option(help="Seeds of training, separated by commas.", metavar="0,1,…", rich_help_panel=TRAINING)
    ] = "0",
    steps: Steps = 1000,
    batch_size: BatchSize = 1,
    grad_accum: GradAccum = 1,
    gradient_checkpointing: GradientCheckpointing = False,
    low_memory: LowMemory = False,
    lr_scheduler: LrScheduler = "constant",
    resolution: Resolution = None,
    model: Model = None,
    device: Device = None,
    precision: Precision = "fp32",
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
    sample_seed: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Of each prompt's first image, for all runs.", rich_help_panel=IMAGES),
    ] = 0,
    sample_steps: Annotated[
        int, typer.Option(min=1, metavar="N", help="Denoising steps.", rich_help_panel=IMAGES)
    ] = 25,
    guidance_scale: GuidanceScale = 7.5,
    scheduler: Scheduler = None,
    sample_batch: Annotated[
        int, typer.Option(min=1, metavar="N", help="Images drawn at once.", rich_help_panel=IMAGES)
    ] = 8,
    encoder_path: EncoderPath = None,
    output: Annotated[
        Path, typer.Option(help="Folder for runs, images and page.", metavar="DIR", rich_help_panel=OUTPUT)
    ] = Path("runs/comparison"),
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Train those runs again that are there with other options.", rich_help_panel=OUTPUT
        ),
    ] = False,
) -> None:
    """Train and score methods on the same concepts, steps and seeds. Writes comparison.html, tables and figures.

    What is complete is not done again, and what was interrupted goes on: the same command with more methods, concepts
    or seeds adds to what is there.
    """
    from ..compare.compare import compare as run
    from ..compare.options import CompareOptions, listed, parse_concept, parse_seeds
    from ..compare.report import PAGE, write_comparison
    from ..compare.variants import parse_rates, parse_variants
    from ..evaluate.encoders.base import parse_encoder_paths
    from ..evaluate.inputs import EvaluateOptions
    from ..evaluate.prompt_sets import prompt_set
    from ..sampling.generate import Settings
    from ..training.options import TrainOptions

    named = [*(concept or ()), *listed(concepts or "")]
    if not named:
        raise UsageError("say what to compare on", "--concept NAME takes the images in concepts/NAME")
    variants = parse_variants(listed(methods))
    rates = parse_rates(lr or [], variants)
    file = prompts or prompt_set(DEFAULT_PROMPTS)
    subjects = tuple(_subject(parse_concept(text, token), file) for text in named)
    options = CompareOptions(
        subjects=subjects,
        variants=variants,
        seeds=parse_seeds(seeds),
        training=TrainOptions(
            concept=subjects[0].concept,
            images=subjects[0].images,
            model=model,
            prompt=prompt,
            steps=steps,
            batch_size=batch_size,
            grad_accum=grad_accum,
            gradient_checkpointing=gradient_checkpointing,
            low_memory=low_memory,
            lr_scheduler=lr_scheduler,
            resolution=resolution,
            precision=precision,
            device=device,
        ),
        scoring=EvaluateOptions(
            run=output,
            prompts=file,
            per_prompt=per_prompt,
            seed=sample_seed,
            settings=Settings(steps=sample_steps, guidance_scale=guidance_scale),
            scheduler=scheduler,
            device=device,
            precision=precision,
            batch_size=sample_batch,
        ),
        output=output,
        rates=rates,
        encoder_paths=parse_encoder_paths(encoder_path or []),
    )
    result = run(options, overwrite=overwrite, events=console.events)
    figures = write_comparison(result)
    console.result({"report": output / PAGE, "output": output, **figures}, f"{_text(result)}\n\n{output / PAGE}")
    if result.failures:
        raise AtomtuneError(
            "\n".join(f"{f.concept}, seed {f.seed}, {f.variant}: {f.reason}" for f in result.failures),
            "these runs are not in the table; the same command tries them again",
        )


def _subject(concept: "Concept", prompts: Path) -> "Subject":
    from ..compare.options import Subject

    return Subject(concept, Path("concepts") / concept.name, prompts)


def _text(result: "Comparison") -> str:
    from ..compare.table import lines, reference, text_rows

    return table(*text_rows(lines(result.runs, result.options.variants), reference(result.runs)))
