"""atomtune sample: draw pictures with concepts."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from .console import Console
from .shared import OUTPUT, Device, Precision, atoms_source, image_size, learned_concepts

CONCEPT, PICTURES = "Concepts and prompts", "Pictures"


def sample(
    console: Console,
    concept: Annotated[
        list[str] | None,
        typer.Option(
            help="Use the concept of runs/NAME; several add up.",
            metavar="NAME",
            autocompletion=learned_concepts,
            rich_help_panel=CONCEPT,
        ),
    ] = None,
    atoms: Annotated[
        list[str] | None,
        typer.Option(
            help="Use an atoms file, at this strength; several add up.",
            metavar="FILE[:SCALE]",
            rich_help_panel=CONCEPT,
        ),
    ] = None,
    scale: Annotated[
        float, typer.Option(metavar="X", help="Strength of all concepts, on top of their own.", rich_help_panel=CONCEPT)
    ] = 1.0,
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
    model: Annotated[
        str | None,
        typer.Option(
            help=r"Base model, as for train. \[default: the one the atoms were trained on]",
            metavar="MODEL",
            rich_help_panel="Model",
        ),
    ] = None,
    device: Device = None,
    precision: Precision = "fp32",
    num: Annotated[
        int, typer.Option(min=1, metavar="N", help="Pictures of each prompt.", rich_help_panel=PICTURES)
    ] = 1,
    seed: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Of the first picture; the next has the next.", rich_help_panel=PICTURES),
    ] = 0,
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Denoising steps.", rich_help_panel=PICTURES)] = 50,
    guidance_scale: Annotated[
        float, typer.Option(min=0.0, metavar="X", help="How closely to follow the prompt.", rich_help_panel=PICTURES)
    ] = 7.5,
    scheduler: Annotated[
        Literal["ddim", "ddpm", "pndm", "euler", "euler-a", "heun", "dpm++", "unipc"] | None,
        typer.Option(help=r"Noise schedule's solver. \[default: the model's]", rich_help_panel=PICTURES),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help=r"Side in pixels, or width and height. \[default: the model's]",
            metavar="N|WxH",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Pictures drawn at once; changes no picture.", rich_help_panel=PICTURES),
    ] = 4,
    base: Annotated[
        bool, typer.Option("--base", help="Draw each picture with the base model too.", rich_help_panel=OUTPUT)
    ] = False,
    grid: Annotated[
        bool, typer.Option("--grid", help="Write a sheet of all pictures as well.", rich_help_panel=OUTPUT)
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            help=r"Folder for the pictures. \[default: runs/NAME/samples, or runs/samples]",
            metavar="DIR",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """Draw pictures of concepts in new scenes.

    Prints the paths of the pictures. They are numbered on from what the folder holds: nothing is overwritten.
    """
    from ..diffusion.sampling.generate import Settings
    from ..diffusion.sampling.sample import SampleOptions
    from ..diffusion.sampling.sample import sample as draw

    runs = Path("runs")
    sources = [(runs / name / "atoms.safetensors", 1.0) for name in concept or ()]
    sources += [atoms_source(text) for text in atoms or ()]
    options = SampleOptions(
        atoms=tuple((file, strength * scale) for file, strength in sources),
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
    drawn, sheet = draw(options, output, console.events)
    data = {
        "images": [{"path": item.path, "prompt": item.prompt, "seed": item.seed, "base": item.base} for item in drawn],
        "seed": seed,
        "grid": sheet,
        "output": output,
    }
    paths = [item.path for item in drawn] + ([sheet] if sheet else [])
    console.result(data, "\n".join(map(str, paths)))
