"""atomtune fleet: many concepts at once, on this machine or a Ray cluster."""

from dataclasses import dataclass
from pathlib import Path

import typer

from ..errors import AtomtuneError
from ..fleet.options import FAILED, STOPPED, FleetOptions, FleetRow
from ..runtime.option import option, same_as
from ..runtime.options import Options
from .console import Console, duration, fields, table
from .options.jobs_file import read_jobs

fleet = typer.Typer(help="Many concepts at once, on this machine or a Ray cluster.", no_args_is_help=True)


@dataclass(frozen=True, kw_only=True)
class FleetSource(Options, panel="Concepts"):
    """What is learned."""

    jobs: Path = option(
        ..., "TOML file of [[jobs]], or a folder of folders with images, one a concept.", metavar="FILE|DIR"
    )
    training: Path | None = option(None, "TOML file with options of train, for all concepts.", metavar="FILE")


@dataclass(frozen=True, kw_only=True)
class FleetPlace(Options, panel="Output"):
    """Which fleet is meant."""

    output: str = same_as(FleetOptions, "output")


def train(console: Console, source: FleetSource, options: FleetOptions) -> None:
    """Learn many concepts, each as train would, by workers that load the base model once.

    A concept whose worker or machine died goes on after its last checkpoint; the same command goes on with all.
    A concept that fails is reported and stops no other. Writes each run to a folder of the output as it is complete,
    and fleet.json, fleet.csv and fleet.html with a row for each.

    Examples:
        atomtune fleet train --jobs concepts --training run.toml
        atomtune fleet train --jobs jobs.toml --output s3://bucket/runs --address ray://head:10001
    """
    from ..fleet.run import run_fleet

    _tell(console, run_fleet(read_jobs(source.jobs, source.training), options, console.events), options.output)


def status(console: Console, place: FleetPlace) -> None:
    """Show how far a fleet is.

    Examples:
        atomtune fleet status --output s3://bucket/runs
    """
    from ..fleet.place import Place
    from ..fleet.table import counts, read_table

    rows = read_table(Place(place.output))
    _print(console, rows, place.output, counts(rows))


def cancel(console: Console, place: FleetPlace) -> None:
    """Have every worker of a fleet save its state and stop; train goes on with it.

    Examples:
        atomtune fleet cancel --output runs
    """
    from ..fleet.place import Place
    from ..fleet.table import read_table
    from ..fleet.worker import STOP

    there = Place(place.output)
    read_table(there)
    there.write(STOP, b"")
    console.result({"output": place.output, "cancelled": True}, f"the workers of {place.output} stop")


def _tell(console: Console, rows: list[FleetRow], output: str) -> None:
    from ..fleet.table import counts

    _print(console, rows, output, counts(rows))
    if failed := [row for row in rows if row.state in (FAILED, STOPPED)]:
        raise AtomtuneError(
            "\n".join(f"{row.name}: {row.error}" for row in failed[:20]),
            failed[0].hint or "the same command tries these again",
        )


def _print(console: Console, rows: list[FleetRow], output: str, found: dict[str, int]) -> None:
    header = ["concept", "state", "steps", "time", "final loss", "atoms"]
    lines = [
        [
            row.name,
            row.state,
            f"{row.steps:,}",
            duration(row.total_seconds),
            "" if row.final_loss is None else f"{row.final_loss:.4f}",
            row.sha256[:12],
        ]
        for row in rows
    ]
    counted = fields({state: str(count) for state, count in found.items() if count})
    data = {"output": output, "counts": found, "rows": [row.to_dict() for row in rows]}
    console.result(data, f"{table(header, lines)}\n\n{counted}")
