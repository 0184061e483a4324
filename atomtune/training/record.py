"""What a run writes down of itself: run.json, and the metadata of its atoms file."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..core.decompose import ALGORITHM
from ..files.atoms_file import AtomsInfo
from ..models.base_model import ModelSource
from .options import TrainOptions

_DESCRIBED = (
    *(
        "batch_size",
        "grad_accum",
        "optimizer",
        "lr",
        "text_encoder_lr",
        "token_lr",
        "lr_scheduler",
        "weight_decay",
        "ema",
    ),
    *("min_snr_gamma", "noise_offset", "prior_preservation", "preserve", "seed", "resolution", "crop", "flip"),
    *("precision", "train_text_encoder", "train_token"),
)


@dataclass(frozen=True)
class TrainResult:
    """What a run came to.

    Attributes:
        final_loss: mean loss of the last 50 steps.
        seconds: of the steps alone, over all sittings; total_seconds: of this sitting, all in.
        resumed_from: the step this sitting began after; 0 for a new run.
        held_out: files of images that were not trained on; held_out_losses: their loss by step.
        result_step: the step whose atoms were written: the last one, or with `stop_early` the one with the lowest
            held-out loss; stopped_early: whether that loss ended the run.
    """

    output: Path
    atoms_file: Path
    atoms_bytes: int
    sha256: str
    trainable_parameters: int
    steps: int
    seconds: float
    total_seconds: float
    final_loss: float
    resumed_from: int
    held_out: list[str] = field(default_factory=list)
    held_out_losses: dict[int, float] = field(default_factory=dict)
    result_step: int = 0
    stopped_early: bool = False

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in vars(self).items()}


def new_record(
    base: str, components: Mapping[str, str], processes: int, images: Sequence[Mapping[str, str]]
) -> dict[str, Any]:
    """run.json of a run that begins, but for its options.

    Args:
        base: fingerprint of the UNet; components: those of the other parts of the model.
        images: see `Material.entries`.
    """
    return {
        "base_fingerprint": base,
        "components": dict(components),
        "versions": versions(),
        "processes": processes,
        "images": list(images),
        "decomposition": ALGORITHM,
    }


def describe(
    options: TrainOptions,
    source: ModelSource,
    base: str,
    architecture: str,
    captions: Sequence[str],
    steps: int,
    parameters: int,
    begun_with: str | None = None,
) -> AtomsInfo:
    """The metadata of the atoms after this many steps.

    Args:
        base: fingerprint of the UNet.
        begun_with: the checksum of the file that the run was begun with.
    """
    return AtomsInfo(
        method=options.method,
        preset=options.preset,
        spec=options.spec.to_dict(),
        base=source.public_name,
        base_fingerprint=base,
        architecture=architecture,
        concept=options.concept.name,
        class_noun=options.concept.class_noun,
        token=options.concept.token,
        others=[
            {"concept": other.concept.name, "class_noun": other.concept.class_noun, "token": other.concept.token}
            for other in options.others
        ],
        prompts=list(dict.fromkeys(captions)),
        steps=steps,
        parameters=parameters,
        training={name: getattr(options, name) for name in _DESCRIBED} | ({"init": begun_with} if begun_with else {}),
    )


def versions() -> dict[str, str]:
    """The versions that a run was made with, for run.json."""
    from importlib.metadata import version

    packages = ("torch", "diffusers", "transformers", "accelerate")
    versions = {name: version(name) for name in packages}
    threads = {"threads": str(torch.get_num_threads()), "processors": str(os.cpu_count())}
    return {"atomtune": __version__, "python": platform.python_version(), **versions, **threads}
