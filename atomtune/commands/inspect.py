"""atomtune inspect FILE: what an atoms or decomposition file holds, and how an image was generated."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ..runtime.units import size
from .console import Console, fields


def inspect(
    console: Console,
    file: Annotated[
        Path, typer.Argument(help="An atoms file, a decomposition file, or a PNG of sample.", show_default=False)
    ],
) -> None:
    """Show what an atoms or decomposition file holds, after checking it, or how an image was generated.

    Examples:
        atomtune inspect runs/castle/castle.safetensors
        atomtune inspect runs/castle/samples/00000-0-a-choa-castle.png
    """
    from ..files.describe import describe

    facts = describe(file)
    shown = {name.replace("_", " "): _text(name, value) for name, value in facts.items()}
    console.result(facts, fields({name: text for name, text in shown.items() if text}))


def _text(name: str, value: Any) -> str:
    if name == "bytes":
        return f"{value:,} ({size(value)})"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(key, item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_text(name, item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
