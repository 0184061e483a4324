"""atomtune sample: draw images with concepts."""

from pathlib import Path
from typing import Annotated

import typer

from .console import Console
from .drawing import (
    CONCEPT,
    IMAGES,
    AtomsFiles,
    BatchSize,
    Concepts,
    FirstSeed,
    GuidanceScale,
    Scale,
    Scheduler,
    Step,
    Steps,
    TunedModel,
    sources,
)
from .shared import OUTPUT, Device, Precision, image_size


def sample(
    console: Console,
    concept: Concepts = None,
    atoms: AtomsFiles = None,
    step: Step = None,
    scale: Scale = 1.0,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            help="What to draw; <NAME> stands for a concept. Give it again for more.",
            metavar="PROMPT",
            rich_help_panel=CONCEPT,
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="File with more prompts, one a line, {} for the concept.", metavar="FILE", rich_help_panel=CONCEPT
        ),
    ] = None,
    negative_prompt: Annotated[
        str, typer.Option(help="What to stay away from.", metavar="PROMPT", rich_help_panel=CONCEPT)
    ] = "",
    model: TunedModel = None,
    device: Device = None,
    precision: Precision = "fp32",
    num: Annotated[int, typer.Option(min=1, metavar="N", help="Images of each prompt.", rich_help_panel=IMAGES)] = 1,
    seed: FirstSeed = 0,
    steps: Steps = 50,
    guidance_scale: GuidanceScale = 7.5,
    scheduler: Scheduler = None,
    size: Annotated[
        str | None,
        typer.Option(
            help=r"Side in pixels, or width and height. \[default: the model's]",
            metavar="N|WxH",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    batch_size: BatchSize = 4,
    base: Annotated[
        bool, typer.Option("--base", help="Draw each image with the base model too.", rich_help_panel=OUTPUT)
    ] = False,
    grid: Annotated[
        bool, typer.Option("--grid", help="Write a sheet of all images as well.", rich_help_panel=OUTPUT)
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            help=r"Folder for the images. \[default: runs/NAME/samples, or runs/samples]",
            metavar="DIR",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """Draw images of concepts in new scenes.

    Prints the paths of the images. They are numbered on from what the folder holds: nothing is overwritten.
    """
    from ..sampling.generate import Settings
    from ..sampling.sample import SampleOptions
    from ..sampling.sample import sample as generate

    runs = Path("runs")
    options = SampleOptions(
        atoms=tuple(sources(concept, atoms, scale, step)),
        prompts=tuple(prompt or ()),
        prompt_file=prompts,
        model=model,
        num=num,
        seed=seed,
        settings=Settings(
            steps=steps,
            guidance_scale=guidance_scale,
            negative_prompt=negative_prompt,
            size=image_size(size) if size else None,
        ),
        scheduler=scheduler,
        batch_size=batch_size,
        base=base,
        grid=grid,
        device=device,
        precision=precision,
    )
    if output is None:
        output = runs / concept[0] / "samples" if concept and len(concept) == 1 else runs / "samples"
    images, sheet = generate(options, output, console.events)
    data = {
        "images": [{"path": item.path, "prompt": item.prompt, "seed": item.seed, "base": item.base} for item in images],
        "seed": seed,
        "grid": sheet,
        "output": output,
    }
    paths = [item.path for item in images] + ([sheet] if sheet else [])
    console.result(data, "\n".join(map(str, paths)))
