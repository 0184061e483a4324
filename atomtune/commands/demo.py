"""atomtune demo: the whole way on the miniature, with a page that shows it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..demo.options import DemoOptions
from ..runtime.option import option
from ..runtime.units import counted, size
from ..sampling.options import RUNS
from .console import Console, duration, fields, table
from .options.groups import OutputOptions

if TYPE_CHECKING:
    from ..demo.demo import DemoResult


@dataclass(frozen=True, kw_only=True)
class DemoOutput(OutputOptions):
    """Where the page goes."""

    output: Path = option(RUNS / "demo", "Folder for the page.", metavar="DIR")


def demo(console: Console, options: DemoOptions, place: DemoOutput) -> None:
    """Teach the miniature model a new thing and see it: a few minutes, no download.

    Examples:
        atomtune demo
        atomtune demo --thing robot --output runs/robot
    """
    from ..demo.demo import run_demo

    result = run_demo(
        place.output,
        thing=options.thing,
        instance=options.instance,
        seed=options.seed,
        compare=options.compare,
        overwrite=place.overwrite,
        events=console.events,
    )
    console.result(asdict(result), _text(result))


def _text(result: "DemoResult") -> str:
    from ..demo.demo import COLUMNS, PROMPT_SCENES

    base, ours, truth = result.fidelity
    right = [f"{result.scenes_right[k]} of {len(PROMPT_SCENES)}" for k in (1, 0, 2)]
    rows = [["fidelity", *(f"{value:.2f}" for value in (ours, base, truth))], ["scenes named right", *right]]
    facts = fields(
        {
            "page": str(result.index),
            "parameters": f"{result.trainable_parameters:,}",
            "atoms file": f"{result.atoms_file}, {size(result.atoms_bytes)}",
            "times": f"decompose {duration(result.decompose_seconds)}, train {duration(result.train_seconds)}, "
            f"in all {duration(result.seconds)}",
            **{
                str(
                    other["method"]
                ): f"fidelity {other['fidelity']:.2f}, {counted(other['trainable_parameters'], 'parameter')}, "
                f"{size(other['atoms_bytes'])}, train {duration(other['train_seconds'])}"
                for other in result.other_methods
            },
            "next": "images of another new thing: atomtune pocket images --class dog --output concepts/rex",
        }
    )
    measured = table(["", *COLUMNS], rows)
    return f"{measured}\n\n{facts}"
