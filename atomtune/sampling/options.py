"""Options of image generation."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

from ..errors import AtomtuneError, did_you_mean, excerpt
from ..files.run_result import result_in
from ..models.options import ModelOptions
from ..runtime.option import option, same_as
from ..runtime.options import Options
from .schedulers import SCHEDULERS

MAX_SEED = 2**63 - 1

PROMPTS = "Concepts and prompts"


RUNS = Path("runs")
"""Where the runs of `train` are, by the names of their concepts."""


def trained_concepts(incomplete: str) -> list[str]:
    """Names that complete a --concept: folders of runs/ that hold atoms. Quick, as the shell waits for it."""
    folders = [path for path in RUNS.glob("*/") if path.name.startswith(incomplete)]
    return sorted(path.name for path in folders if result_in(path).is_file())


def no_such_concept(name: str) -> AtomtuneError:
    """The error for a concept without a run, with the nearest one that there is."""
    there, said = trained_concepts(""), excerpt(name, 60)
    hint = f"learned: {', '.join(there)}" if there else f"atomtune train --concept {quote(said)} teaches it"
    if name.endswith(".safetensors"):
        hint = f"--atoms {quote(said)} takes a file"
    return AtomtuneError(f"there is no concept {said} in {RUNS}/{did_you_mean(name, there)}", hint)


def image_size(value: Any) -> tuple[int, int]:
    """Read 512 or "768x512" as width and height. Raises ValueError for anything else."""
    sides = str(value).lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and len(side) < 7 for side in sides):
        raise ValueError(f"must be a side in pixels, or width x height as in 768x512, not {str(value)[:40]!r}")
    return int(sides[0]), int(sides[-1])


@dataclass(frozen=True, kw_only=True)
class Settings(Options, panel="Images"):
    """How an image is generated.

    Attributes:
        guidance_scale: of classifier-free guidance; 1 switches it off.
        size: (width, height) in pixels; None for the model's own.
    """

    steps: int = option(50, "Denoising steps.", at_least=1, metavar="N", aliases=("num_inference_steps",))
    guidance_scale: float = option(
        7.5, "Scale of classifier-free guidance; 1 switches it off.", at_least=0, metavar="X", aliases=("cfg_scale",)
    )
    negative_prompt: str = option("", "Negative prompt.", metavar="PROMPT")
    size: tuple[int, int] | None = option(
        None,
        "Side in pixels, or width and height.",
        read=image_size,
        shown_default="the model's",
        metavar="N|WxH",
    )

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        if self.size and any(side % 8 or side < 8 for side in self.size):
            yield "size", f"must have sides that are multiples of 8, not {self.size[0]}x{self.size[1]}"


@dataclass(frozen=True, kw_only=True)
class TunedModelOptions(ModelOptions):
    """The base model of atoms files."""

    model: str | None = same_as(
        ModelOptions,
        "model",
        help="Base model, as for train.",
        shown_default="the one the atoms were trained on",
    )


@dataclass(frozen=True, kw_only=True)
class SampleOptions(TunedModelOptions, panel="Images"):
    """Images to generate.

    Attributes:
        atoms: atoms files and their scales; their changes add up.
        prompts: `<name>` stands for a loaded concept; prompt_file: more, one a line, `{}` for the concept.
        model: None for the model that the first atoms file was trained on, else for the default.
        per_prompt: images of each prompt; image k has the seed `seed` + k.
        batch_size: images generated at once; changes no image.
        base: generate each image with the base model too.
        grid: a sheet of all images, prompts × images, beside the single files.
    """

    hint = "as in atomtune sample --concept castle --prompt 'a <castle> in the snow'; --help lists the options"

    atoms: tuple[tuple[Path, float], ...] = option((), "")
    prompts: tuple[str, ...] = option(
        (),
        "Prompt; <NAME> stands for a concept. Give it again for more.",
        name="prompt",
        metavar="PROMPT",
        word="rest",
        panel=PROMPTS,
    )
    prompt_file: Path | None = option(
        None, "File with more prompts, one a line, {} for the concept.", name="prompts", metavar="FILE", panel=PROMPTS
    )
    per_prompt: int = option(
        1,
        "Images of each prompt.",
        at_least=1,
        metavar="N",
        aliases=("num_images_per_prompt", "images_per_prompt"),
        formerly=("num",),
    )
    seed: int = option(0, "Seed of the first image; image k uses seed + k.", at_least=0, at_most=MAX_SEED, metavar="N")
    settings: Settings = field(default=Settings())
    scheduler: str | None = option(
        None, "Scheduler (sampler).", choices=SCHEDULERS, shown_default="the model's", aliases=("sampler",)
    )
    batch_size: int = option(4, "Images generated at once; changes no image.", at_least=1, metavar="N")
    base: bool = option(False, "Generate each image with the base model as well.", panel="Output")
    grid: bool = option(False, "Write a contact sheet of all images as well.", panel="Output")

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        if not self.prompts and self.prompt_file is None:
            yield "prompt", "or --prompts is needed: there is nothing to generate"
        if self.seed > MAX_SEED - self.per_prompt:
            yield "seed", f"must be at most {MAX_SEED - self.per_prompt}, so that every image has one"
