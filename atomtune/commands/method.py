"""Options of `train` that choose the tuning method and what of the model it trains."""

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import UsageError
from .shared import METHOD, spec_from

if TYPE_CHECKING:
    from ..methods.specs import Spec

Method = Annotated[
    Literal["atoms", "lora", "loha", "lokr", "oft", "coft", "bitfit", "difffit", "loldu", "full", "textual-inversion"],
    typer.Option(help="What is trained; docs/methods.md compares them.", rich_help_panel=METHOD),
]
Overcomplete = Annotated[
    int | None,
    typer.Option(
        min=1, help="m1, the atoms that each filter atom is mixed from.", metavar="M1", rich_help_panel=METHOD
    ),
]
TrainCoefficients = Annotated[
    bool,
    typer.Option("--train-coefficients", help="Train the coefficients too, as c4 does.", rich_help_panel=METHOD),
]
PaperScaling = Annotated[
    bool,
    typer.Option(
        "--paper-scaling", help="One learning rate for all atoms, whatever their layer's scale.", rich_help_panel=METHOD
    ),
]
Rank = Annotated[
    int | None,
    typer.Option(min=1, metavar="R", help="Of lora, loha, lokr (8) and loldu (32).", rich_help_panel=METHOD),
]
Alpha = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="A", help="Their change is scaled by alpha / rank; 8, loldu 32.", rich_help_panel=METHOD
    ),
]
BlockSize = Annotated[
    int | None,
    typer.Option(min=2, metavar="B", help="Side of a block of oft and coft (8).", rich_help_panel=METHOD),
]
Eps = Annotated[
    float | None, typer.Option(min=0.0, metavar="E", help="Bound of coft's rotation.", rich_help_panel=METHOD)
]
Start = Annotated[
    Literal["decomposed", "constant", "uniform", "normal", "zeros", "ones"] | None,
    typer.Option(help="What loldu's diagonal begins as (decomposed).", rich_help_panel=METHOD),
]
TrainToken = Annotated[
    bool,
    typer.Option("--train-token", help="Learn the embedding of the concept's token too.", rich_help_panel=METHOD),
]


def method_spec(method: str, preset: str | None, **given: Any) -> "Spec":
    """The spec of a method, with the fields that are not None in place of its defaults.

    Raises UsageError for options of another method.
    """
    from ..methods import METHODS

    asked = {name: value for name, value in given.items() if value is not None}
    kind = METHODS[method].spec
    foreign = sorted(set(asked) - {field.name for field in fields(kind)})
    if preset is not None and method != "atoms":
        foreign.append("preset")
    if foreign:
        listed = ", ".join("--" + name.replace("_", "-") for name in foreign)
        raise UsageError(f"{listed} does not belong to --method {method}", "atomtune train --help says what does")
    return spec_from(preset or "c2", **asked) if method == "atoms" else kind(**asked)
