"""Options that several verbs take, and what they mean to the floors below."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import UsageError

if TYPE_CHECKING:
    from ..methods.specs import AtomsSpec

CONCEPT, IMAGES, MODEL, METHOD, OUTPUT = "Concept", "Images", "Model", "Method", "Output"

ConceptName = Annotated[
    str,
    typer.Option(
        help="Name of what is taught; prompts call it <NAME>.",
        metavar="NAME",
        show_default=False,
        rich_help_panel=CONCEPT,
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(
        help=r"Folder with 4 to 9 images of it. \[default: concepts/NAME]", metavar="DIR", rich_help_panel=CONCEPT
    ),
]
ClassName = Annotated[
    str | None,
    typer.Option(
        help=r"What the base model calls this kind of thing. \[default: NAME]", metavar="NOUN", rich_help_panel=CONCEPT
    ),
]
Token = Annotated[
    str, typer.Option(help="The rare word that comes to mean it.", metavar="WORD", rich_help_panel=CONCEPT)
]
Prompt = Annotated[
    str,
    typer.Option(
        help="Caption of every image without one of its own (01.txt beside 01.jpg); {} stands for the concept.",
        rich_help_panel=CONCEPT,
    ),
]
Resolution = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=8,
        help=r"Side of the training images in pixels. \[default: the model's]",
        rich_help_panel=IMAGES,
    ),
]
Crop = Annotated[
    Literal["center", "random", "smart"],
    typer.Option(help="Where the square is cut out; smart looks for detail, colour and skin.", rich_help_panel=IMAGES),
]
Flip = Annotated[bool, typer.Option("--flip/--no-flip", help="Mirror half of the images.", rich_help_panel=IMAGES)]
Seed = Annotated[int, typer.Option(metavar="N", help="Decides every draw.", rich_help_panel=IMAGES)]

Model = Annotated[
    str | None,
    typer.Option(
        help="Base model: a hub id, a diffusers folder, or 'pocket', the miniature in this package. "
        r"\[default: $ATOMTUNE_MODEL, else CompVis/stable-diffusion-v1-4]",
        metavar="MODEL",
        rich_help_panel=MODEL,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        help=r"cpu, cuda, cuda:1, mps. \[default: a GPU where there is one]", metavar="DEVICE", rich_help_panel=MODEL
    ),
]
Precision = Annotated[
    Literal["fp32", "fp16", "bf16"], typer.Option(help="Type that the model computes in.", rich_help_panel=MODEL)
]
Preset = Annotated[
    Literal["c1", "c2", "c3", "c4", "conv", "conv-overcomplete"] | None,
    typer.Option(
        help=r"Of atoms: the paper's configurations; the options below change one thing each. \[default: c2]",
        rich_help_panel=METHOD,
    ),
]
Atoms = Annotated[
    int | None, typer.Option(min=1, help="m, the atoms of each layer.", metavar="M", rich_help_panel=METHOD)
]
Tile = Annotated[
    int | None,
    typer.Option(
        min=1, help="k_c, the largest side of a tile of linear and 1x1 layers.", metavar="K", rich_help_panel=METHOD
    ),
]
Sparsity = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        help="Lambda of the decomposition, in standard deviations of the weights: 0, or 0.05 as in the paper.",
        metavar="LAMBDA",
        rich_help_panel=METHOD,
    ),
]
Layers = Annotated[
    str | None,
    typer.Option(
        help=r"all, conv (k x k convolutions alone), attention, or patterns: 'up_blocks.*,*.attn2.to_k'. "
        r"\[default: all; loldu: attention]",
        metavar="WHICH",
        rich_help_panel=METHOD,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.", rich_help_panel=OUTPUT)]


def spec_from(preset: str, **fields: Any) -> "AtomsSpec":
    """The preset's spec, with the fields that are not None in its place."""
    from ..methods.specs import PRESETS

    return replace(PRESETS[preset], **{name: value for name, value in fields.items() if value is not None})


def atoms_source(text: str) -> tuple[Path, float]:
    """Split FILE[:SCALE] into file and scale, 1 without one. A file whose own name ends like that is taken as it is."""
    file, colon, scale = text.rpartition(":")
    if not colon or Path(text).exists():
        return Path(text), 1.0
    try:
        return Path(file), float(scale)
    except ValueError:
        return Path(text), 1.0


def image_size(text: str) -> tuple[int, int]:
    """Read "512" or "768x512" as width and height. Raises UsageError for anything else."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        raise UsageError(f"{text!r} is no image size", "as in --size 512 or --size 768x512 (width x height)")
    return int(sides[0]), int(sides[-1])


def learned_concepts(incomplete: str) -> list[str]:
    """Names that complete a --concept: folders of runs/ that hold atoms. Quick, as the shell waits for it."""
    files = Path("runs").glob("*/atoms.safetensors")
    return sorted(file.parent.name for file in files if file.parent.name.startswith(incomplete))
