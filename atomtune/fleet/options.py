"""Options of `atomtune fleet`, and what a concept of it is."""

from dataclasses import asdict, dataclass
from typing import Any

from ..runtime.option import option
from ..runtime.options import Options
from ..training.options import TrainOptions


@dataclass(frozen=True, kw_only=True)
class ClusterOptions(Options, panel="Workers"):
    """Which machines work.

    Attributes:
        address: None for this machine alone.
    """

    address: str | None = option(
        None, "Ray cluster, as ray://head:10001 or auto.", shown_default="this machine", metavar="ADDRESS"
    )
    gpus_per_job: float = option(1.0, "GPUs of a worker, where there are any.", above=0, metavar="X")


@dataclass(frozen=True, kw_only=True)
class FleetOptions(ClusterOptions):
    """Where a fleet works.

    Attributes:
        workers: None for as many as the GPUs, else the CPUs, of the machine or cluster give.
    """

    output: str = option(
        "runs", "Folder of the runs, or an address of fsspec, as s3://bucket/runs.", metavar="DIR|URL", panel="Output"
    )
    workers: int | None = option(
        None, "Workers.", at_least=1, shown_default="what the GPUs, else the CPUs, give", metavar="N"
    )
    retries: int = option(2, "Times that a concept is tried again after its worker died.", at_least=0, metavar="N")


@dataclass(frozen=True)
class FleetJob:
    """One concept to learn.

    Attributes:
        options: of its training; its `images` counts where `images` here is empty.
        images: address of fsspec, as s3://bucket/photos/mug.
        packed: the files of the images, by name, where workers cannot read them.
    """

    options: TrainOptions
    images: str = ""
    packed: tuple[tuple[str, bytes], ...] = ()

    @property
    def name(self) -> str:
        """Of the concept, and of its run's folder."""
        return self.options.concept.name


WAITING, TRAINING, DONE, FAILED, STOPPED = "waiting", "training", "done", "failed", "stopped"


@dataclass(frozen=True)
class FleetRow:
    """One concept in fleet.json.

    Attributes:
        state: "waiting", "training", "done", "failed" or "stopped".
        resumed_from: the step that the last sitting began after.
        seconds: of the steps; total_seconds: of the last sitting, all in.
        thumbnail: path of a small image from the fleet's page; empty without one.
        error, hint: of a concept that failed; empty otherwise.
    """

    name: str
    state: str = WAITING
    steps: int = 0
    resumed_from: int = 0
    seconds: float = 0.0
    total_seconds: float = 0.0
    final_loss: float | None = None
    parameters: int = 0
    bytes: int = 0
    sha256: str = ""
    thumbnail: str = ""
    error: str = ""
    hint: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
