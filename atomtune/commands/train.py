"""atomtune train: teach a base model a concept."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from ..runtime.option import option
from ..runtime.units import size
from ..sampling.options import RUNS
from ..training.options import TrainOptions
from .console import Console, duration, fields
from .options.groups import OutputOptions

if TYPE_CHECKING:
    from ..training.record import TrainResult


@dataclass(frozen=True, kw_only=True)
class TrainOutput(OutputOptions):
    """The folder of the run, and what to do with one that is there."""

    output: Path | None = option(
        None, "Folder of the run.", shown_default="runs/NAME", metavar="DIR", aliases=("output_dir",), essential=True
    )
    resume: bool = option(False, "Resume the run in the folder, with its own options.", essential=True)
    dry_run: bool = option(False, "Show what would be trained, and what it takes.", essential=True)
    measure: bool = option(False, "With --dry-run: load the model and take a few steps, as is done for pocket anyway.")

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        if self.measure and not self.dry_run:
            yield "measure", "goes with --dry-run"


def train(console: Console, explicit: frozenset[tuple[str, ...]], options: TrainOptions, place: TrainOutput) -> None:
    """Teach the base model a concept from a few images.

    Writes the run's folder: NAME.safetensors (the result), run.json, log.jsonl, loss.svg and the state to resume from.

    Examples:
        atomtune train --concept castle
        atomtune train --concept rex --class-noun dog --preset c3 --steps 800 --sample-every 100
        atomtune train --concept rex --method lora --rank 4 --config run.toml
    """
    if place.dry_run:
        from .dry_run import dry_run

        dry_run(console, options, measure=place.measure)
        return
    from ..training.train import train as run

    name = options.concept.name
    result = run(
        options,
        place.output or RUNS / name,
        resume=place.resume,
        # the concept's name alone says which run is meant, not how it is to be changed
        explicit=frozenset(path[0] for path in explicit - {("concept", "name")}),
        overwrite=place.overwrite,
        events=console.events,
    )
    console.result(asdict(result), _text(result))
    files = f"--concept {name}" if place.output is None else f"--atoms {quote(str(result.atoms_file))}"
    console.info(f'Next: atomtune sample {files} --prompt "a <{name}> in the snow"')


def _text(result: "TrainResult") -> str:
    sitting = f" (from step {result.resumed_from})" if result.resumed_from else ""
    return fields(
        {
            "atoms file": str(result.atoms_file),
            "size": size(result.atoms_bytes),
            "parameters": f"{result.trainable_parameters:,}",
            "steps": f"{result.steps:,}{sitting} in {duration(result.seconds)}",
            "final loss": f"{result.final_loss:.4f}",
            **_held_out(result),
        }
    )


def _held_out(result: "TrainResult") -> dict[str, str]:
    """What the held-out loss says, where it was measured more than once."""
    losses = result.held_out_losses
    if len(losses) < 2:
        return {}
    first, best = min(losses), min(losses, key=lambda step: losses[step])
    said = f"{losses[first]:.4f} at step {first}, lowest at step {best}: {losses[best]:.4f}"
    chosen = f"; the result is that of step {result.result_step}" if result.result_step != result.steps else ""
    return {"held-out loss": said + chosen}
