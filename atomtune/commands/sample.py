"""atomtune sample: generate images with concepts."""

from dataclasses import dataclass, replace
from pathlib import Path

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
    images, sheet = generate(replace(options, atoms=tuple(source.files())), output, console.events)
    data = {
        "images": [{"path": item.path, "prompt": item.prompt, "seed": item.seed, "base": item.base} for item in images],
        "seed": options.seed,
        "grid": sheet,
        "output": output,
    }
    paths = [item.path for item in images] + ([sheet] if sheet else [])
    console.result(data, "\n".join(map(str, paths)))
