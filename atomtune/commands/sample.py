"""atomtune sample: generate images with concepts."""

from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import UsageError
from ..runtime.option import option
from ..runtime.options import Options
from ..sampling.options import RUNS, SampleOptions
from .console import Console
from .options.groups import SourceOptions


@dataclass(frozen=True, kw_only=True)
class SampleOutput(Options, panel="Output"):
    """Where the images go."""

    output: Path | None = option(
        None,
        "Folder for the images.",
        shown_default="runs/NAME/samples, or runs/samples",
        metavar="DIR",
        aliases=("output_dir", "outdir"),
    )
    scale_grid: str | None = option(
        None,
        "Write a sheet instead: the first prompt at each kept step of the concept and at these scales.",
        metavar="X,Y,…",
    )


def sample(console: Console, source: SourceOptions, options: SampleOptions, place: SampleOutput) -> None:
    """Generate images of concepts in new scenes.

    Prints the paths of the images. They are numbered on from what the folder holds: nothing is overwritten.

    Examples:
        atomtune sample --concept castle --prompt "a <castle> in the snow" --per-prompt 4
        atomtune sample --atoms castle.safetensors:0.8 --prompts prompts.txt --grid
    """
    from ..sampling.sample import sample as generate

    output = place.output
    if output is None:
        output = RUNS / source.concepts[0] / "samples" if len(source.concepts) == 1 else RUNS / "samples"
    if place.scale_grid is not None:
        _write_scale_grid(console, source, options, place.scale_grid, output)
        return
    images, sheet = generate(replace(options, atoms=tuple(source.files())), output, console.events)
    data = {
        "images": [{"path": item.path, "prompt": item.prompt, "seed": item.seed, "base": item.base} for item in images],
        "seed": options.seed,
        "grid": sheet,
        "output": output,
    }
    paths = [item.path for item in images] + ([sheet] if sheet else [])
    console.result(data, "\n".join(map(str, paths)))


def _write_scale_grid(
    console: Console, source: SourceOptions, options: SampleOptions, scales: str, output: Path
) -> None:
    from ..evaluation.scale_grid import parse_scales, scale_grid_of_run

    if len(source.concepts) != 1 or source.atoms or source.step is not None or not options.prompts:
        raise UsageError("--scale-grid is of one --concept and its --prompt", "leave --atoms and --step out")
    parsed = parse_scales(scales)
    source.files()  # that there is such a run
    sheet = scale_grid_of_run(RUNS / source.concepts[0], options, parsed, output, console.events)
    console.result({"images": [], "seed": options.seed, "grid": sheet, "output": output}, str(sheet))
