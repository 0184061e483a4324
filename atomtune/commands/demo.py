"""atomtune demo: the whole way on the miniature, with a page that shows it."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..runtime.units import size
from .console import Console, duration, fields
from .shared import OUTPUT, Overwrite

if TYPE_CHECKING:
    from ..demo.demo import DemoResult

THING = "Thing"


def demo(
    console: Console,
    thing: Annotated[
        str, typer.Option(help="What to learn, as castle, robot, teapot.", rich_help_panel=THING)
    ] = "castle",
    instance: Annotated[
        int,
        typer.Option(min=0, help="Which one of it; the model saw none of them.", metavar="N", rich_help_panel=THING),
    ] = 7,
    seed: Annotated[
        int, typer.Option(min=0, help="Decides training and images.", metavar="N", rich_help_panel=THING)
    ] = 0,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare", help="Train LoRA and the whole model too, and show them beside it.", rich_help_panel=THING
        ),
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder for the page.", metavar="DIR", rich_help_panel=OUTPUT)] = Path(
        "runs/demo"
    ),
    overwrite: Overwrite = False,
) -> None:
    """Teach the miniature model a new thing and see it: a few minutes, no download."""
    from ..demo.demo import run_demo

    result = run_demo(
        output,
        thing=thing,
        instance=instance,
        seed=seed,
        compare=compare,
        overwrite=overwrite,
        events=console.events,
    )
    console.result(asdict(result), _text(result))


def _text(result: "DemoResult") -> str:
    base, ours, truth = result.fidelity
    return fields(
        {
            "page": str(result.index),
            "parameters": f"{result.trainable_parameters:,}",
            "atoms file": f"{result.atoms_file}, {size(result.atoms_bytes)}",
            "fidelity": f"{ours:.3f} (base model {base:.3f}, fresh renderings of the same thing {truth:.3f})",
            "times": f"decompose {duration(result.decompose_seconds)}, train {duration(result.train_seconds)}, "
            f"in all {duration(result.seconds)}",
            **{
                str(
                    other["method"]
                ): f"fidelity {other['fidelity']:.3f}, {other['trainable_parameters']:,} parameters, "
                f"{size(other['atoms_bytes'])}, train {duration(other['train_seconds'])}"
                for other in result.other_methods
            },
        }
    )
