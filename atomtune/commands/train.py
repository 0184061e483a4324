"""atomtune train: teach a base model a concept."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import Console, duration, fields, size, table
from .shared import (
    METHOD,
    OUTPUT,
    Atoms,
    Device,
    Layers,
    Model,
    Overwrite,
    Precision,
    Preset,
    Sparsity,
    Tile,
    spec_from,
)

if TYPE_CHECKING:
    from ..diffusion.options import TrainOptions
    from ..diffusion.train import TrainResult
    from ..methods.base import LayerPlan

CONCEPT, TRAINING = "Concept", "Training"
SPEC = frozenset({"preset", "atoms", "tile", "overcomplete", "sparsity", "layers", "train_coefficients"})


def train(
    console: Console,
    explicit: frozenset[str],
    concept: Annotated[
        str,
        typer.Option(
            help="Name of what is taught; prompts call it <NAME>.",
            metavar="NAME",
            show_default=False,
            rich_help_panel=CONCEPT,
        ),
    ],
    images: Annotated[
        Path | None,
        typer.Option(
            help=r"Folder with 4 to 9 pictures of it. \[default: concepts/NAME]", metavar="DIR", rich_help_panel=CONCEPT
        ),
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Option(
            help=r"What the base model calls this kind of thing. \[default: NAME]",
            metavar="NOUN",
            rich_help_panel=CONCEPT,
        ),
    ] = None,
    token: Annotated[
        str, typer.Option(help="The rare word that comes to mean it.", metavar="WORD", rich_help_panel=CONCEPT)
    ] = "sks",
    prompt: Annotated[
        str,
        typer.Option(help="Caption of every picture; {} stands for the concept.", rich_help_panel=CONCEPT),
    ] = "a photo of a {}",
    model: Model = None,
    device: Device = None,
    precision: Precision = "fp32",
    preset: Preset = "c2",
    atoms: Atoms = None,
    tile: Tile = None,
    overcomplete: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="m1, the atoms that each filter atom is mixed from.",
            metavar="M1",
            rich_help_panel=METHOD,
        ),
    ] = None,
    sparsity: Sparsity = None,
    layers: Layers = None,
    train_coefficients: Annotated[
        bool,
        typer.Option("--train-coefficients", help="Train the coefficients too, as c4 does.", rich_help_panel=METHOD),
    ] = False,
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Optimiser steps.", rich_help_panel=TRAINING)] = 1000,
    lr: Annotated[float, typer.Option(metavar="X", help="Learning rate.", rich_help_panel=TRAINING)] = 1e-3,
    weight_decay: Annotated[
        float, typer.Option(min=0.0, metavar="X", help="AdamW's.", rich_help_panel=TRAINING)
    ] = 1e-2,
    batch_size: Annotated[
        int, typer.Option(min=1, metavar="N", help="Pictures in a step.", rich_help_panel=TRAINING)
    ] = 1,
    resolution: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=8,
            help=r"Side of the training pictures in pixels. \[default: the model's]",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    flip: Annotated[
        bool, typer.Option("--flip/--no-flip", help="Mirror half of the pictures.", rich_help_panel=TRAINING)
    ] = False,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Decides every draw of the run.", rich_help_panel=TRAINING)
    ] = 0,
    output: Annotated[
        Path | None,
        typer.Option(help=r"Folder of the run. \[default: runs/NAME]", metavar="DIR", rich_help_panel=OUTPUT),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run in the folder, as it was begun.", rich_help_panel=OUTPUT),
    ] = False,
    overwrite: Overwrite = False,
    checkpoint_every: Annotated[
        int, typer.Option(min=1, metavar="N", help="Steps between two saved states.", rich_help_panel=OUTPUT)
    ] = 250,
    sample_every: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Steps between two sets of pictures; 0 for none.", rich_help_panel=OUTPUT
        ),
    ] = 0,
    sample_prompt: Annotated[
        list[str] | None,
        typer.Option(help="What to draw then; give it again for more.", metavar="PROMPT", rich_help_panel=OUTPUT),
    ] = None,
    sample_steps: Annotated[
        int, typer.Option(min=1, metavar="N", help="Denoising steps of those pictures.", rich_help_panel=OUTPUT)
    ] = 25,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be trained, and stop.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Teach the base model a concept from a few pictures.

    Writes the run's folder: atoms.safetensors (the result), run.json, log.jsonl, loss.svg and the state to resume from.
    """
    from ..diffusion.concept import Concept
    from ..diffusion.options import TrainOptions

    options = TrainOptions(
        concept=Concept(concept, class_name or concept, token),
        images=images or Path("concepts") / concept,
        model=model,
        spec=spec_from(
            preset,
            atoms=atoms,
            tile=tile,
            overcomplete=overcomplete,
            sparsity=sparsity,
            layers=layers,
            train_coefficients=train_coefficients or None,
        ),
        prompt=prompt,
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        seed=seed,
        resolution=resolution,
        flip=flip,
        precision=precision,
        device=device,
        sample_every=sample_every,
        sample_prompts=tuple(sample_prompt or ()),
        sample_steps=sample_steps,
        checkpoint_every=checkpoint_every,
    )
    if dry_run:
        _plan(console, options)
        return
    from ..diffusion.train import train as run

    result = run(
        options,
        output or Path("runs") / concept,
        resume=resume,
        explicit=_fields_given(explicit),
        overwrite=overwrite,
        events=console.events,
    )
    console.result(asdict(result), _text(result))
    files = f"--concept {concept}" if output is None else f"--atoms {result.atoms_file}"
    console.info(f'Try: atomtune sample {files} --prompt "a <{concept}> in the snow"')


def _fields_given(explicit: frozenset[str]) -> frozenset[str]:
    """The fields of TrainOptions that options on the command line or in a file set."""
    renamed = {"sample_prompt": "sample_prompts", "class_name": "concept", "token": "concept"}
    # the concept's name alone says which run is meant, not how it is to be changed
    names = explicit - {"concept", "output", "resume", "overwrite", "dry_run"}
    return frozenset("spec" if name in SPEC else renamed.get(name, name) for name in names)


def _text(result: "TrainResult") -> str:
    sitting = f" (from step {result.resumed_from})" if result.resumed_from else ""
    return fields(
        {
            "atoms file": str(result.atoms_file),
            "size": size(result.atoms_bytes),
            "parameters": f"{result.trainable_parameters:,}",
            "steps": f"{result.steps:,}{sitting} in {duration(result.seconds)}",
            "final loss": f"{result.final_loss:.4f}",
        }
    )


def _plan(console: Console, options: "TrainOptions") -> None:
    """Show what would be trained, by group of layers."""
    from ..diffusion.models import resolve, unet_on_meta
    from ..methods.atoms import Atoms as Method

    source = resolve(options.model)
    plan = Method().plan(unet_on_meta(source), options.spec)
    groups = [
        (group, [layer for layer in plan if layer.group == group])
        for group in dict.fromkeys(layer.group for layer in plan)
    ]
    total = _counts(plan)
    data = {
        "trainable_parameters": total["parameters"],
        **total,
        "groups": [{"group": group, **_counts(part)} for group, part in groups],
        "preset": options.preset,
        "spec": asdict(options.spec),
        "base": source.name,
    }
    columns = ["layers", "conv", "conv_1x1", "linear", "rows", "parameters"]
    counted = [(group, _counts(part)) for group, part in groups] + [("total", total)]
    rows = [[group, *(f"{counts[column]:,}" for column in columns)] for group, counts in counted]
    header = ["group", *(column.replace("_", " ") for column in columns)]
    heading = f"{options.preset} on {source.name} would train {total['parameters']:,} parameters"
    console.result(data, f"{heading}\n\n{table(header, rows)}")


def _counts(plan: "Sequence[LayerPlan]") -> dict[str, Any]:
    kinds = [layer.kind for layer in plan]
    return {
        "layers": len(plan),
        "conv": kinds.count("conv"),
        "conv_1x1": kinds.count("conv 1x1"),
        "linear": kinds.count("linear"),
        "rows": sum(layer.rows for layer in plan),
        "parameters": sum(layer.parameters for layer in plan),
    }
