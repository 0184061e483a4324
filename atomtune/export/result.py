"""What an export gives back."""

from dataclasses import dataclass, field
from pathlib import Path

from ..errors import AtomtuneError
from ..sampling.changes import LoadedAtoms


@dataclass(frozen=True)
class MergedAtoms:
    """One atoms file that went into an export."""

    file: str
    scale: float
    sha256: str
    concept: str
    trigger: str
    preset: str
    base: str
    base_fingerprint: str


@dataclass(frozen=True)
class Quality:
    """How near what was written is to the atoms, after it was loaded again.

    Attributes:
        layers: how many weights change.
        relative_error: ‖ΔW − ΔW'‖ / ‖ΔW‖ over all of them, ΔW' being what the file makes of them.
        energy_kept: 1 − relative_error².
        weighted_error: the same with every ΔW·L in the place of ΔW, LLᵀ being the second moment of the layer's input;
            None where it was not measured.
        worst_layer, worst_error: the layer whose own relative error is largest.
        psnr: of images against those of the atoms, in dB; None where it was not measured.
    """

    layers: int
    relative_error: float
    worst_layer: str
    worst_error: float
    weighted_error: float | None = None
    psnr: float | None = None
    energy_kept: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "energy_kept", 1 - self.relative_error**2)


@dataclass(frozen=True)
class ExportResult:
    """What was written.

    Attributes:
        output: the file, or the diffusers folder.
        bytes: of it; beside: the files beside it, as NAME.json.
        to: form of the export.
        rank: the largest of a LoRA's layers; None for other forms.
        layers, relative_error, energy_kept, worst_layer, worst_error, weighted_error, psnr: see `Quality`.
        base, base_fingerprint: the model the change was computed for.
        sha256: the checksum of the tensors; empty for a folder.
        seconds: from the first file read to the last one checked.
    """

    output: Path
    bytes: int
    beside: list[Path]
    to: str
    precision: str
    rank: int | None
    layers: int
    relative_error: float
    energy_kept: float
    weighted_error: float | None
    worst_layer: str
    worst_error: float
    psnr: float | None
    base: str
    base_fingerprint: str
    atoms: list[MergedAtoms]
    sha256: str
    seconds: float


class WorseThanPromisedError(AtomtuneError):
    """What was written is there, and differs more from the atoms than its form does.

    Attributes:
        result: what was written, with its errors.
    """

    def __init__(self, message: str, hint: str, result: ExportResult) -> None:
        super().__init__(message, hint)
        self.result = result


def facts_of(item: LoadedAtoms) -> MergedAtoms:
    """What a result says of a file that went into it."""
    info = item.info
    return MergedAtoms(
        file=item.path.name,
        scale=item.scale,
        sha256=item.sha256,
        concept=" + ".join(info.names),
        trigger=info.trigger,
        preset=info.preset,
        base=info.base,
        base_fingerprint=info.base_fingerprint,
    )
