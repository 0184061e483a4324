"""What a training run is asked to do, as one value that run.json can hold."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import AtomtuneError, UsageError
from ..methods.atoms import AtomsSpec, preset_name
from .concept import Concept

PRECISIONS = ("fp32", "fp16", "bf16")


@dataclass(frozen=True)
class TrainOptions:
    """A training run.

    Attributes:
        concept: what is taught.
        images: folder of its pictures.
        model: base model, as for `models.resolve`; None for the default.
        spec: what is trained.
        prompt: the caption of every picture; `<name>` or `{}` stands for the concept.
        steps: optimiser steps; batch_size: pictures in each, on each process.
        lr, weight_decay: of AdamW.
        resolution: side of the training pictures in pixels; None for the model's own.
        flip: show each picture mirrored half of the time.
        precision: compute type; weights added and trained in float32 all the same.
        device: "cpu", "cuda", …; None for the best there is.
        sample_every, sample_prompts: draw these prompts every so many steps; 0 for never.
        checkpoint_every: save the state every so many steps; it is always saved at the end.
    """

    concept: Concept
    images: Path
    model: str | None = None
    spec: AtomsSpec = AtomsSpec()
    prompt: str = "a photo of a {}"
    steps: int = 1000
    batch_size: int = 1
    lr: float = 1e-3
    weight_decay: float = 1e-2
    seed: int = 0
    resolution: int | None = None
    flip: bool = False
    precision: str = "fp32"
    device: str | None = None
    sample_every: int = 0
    sample_prompts: tuple[str, ...] = ()
    sample_steps: int = 25
    checkpoint_every: int = 250

    def __post_init__(self) -> None:
        low: dict[str, float] = {
            "steps": 1,
            "batch_size": 1,
            "sample_every": 0,
            "checkpoint_every": 1,
            "sample_steps": 1,
        }
        problems = [f"{name} must be at least {least}" for name, least in low.items() if getattr(self, name) < least]
        if not 0.0 < self.lr < 10.0:
            problems.append(f"lr must be between 0 and 10, not {self.lr}")
        if self.weight_decay < 0.0:
            problems.append("weight_decay must not be negative")
        if self.precision not in PRECISIONS:
            problems.append(f"precision must be one of {', '.join(PRECISIONS)}")
        if self.resolution is not None and (self.resolution < 8 or self.resolution % 8):
            problems.append(f"resolution must be a multiple of 8, not {self.resolution}")
        if self.concept.name not in self.prompt and "{}" not in self.prompt and self.concept.token not in self.prompt:
            problems.append(f"the training prompt {self.prompt!r} does not name the concept")
        if self.sample_prompts and not self.sample_every:
            problems.append("sample prompts need sample_every")
        if problems:
            raise UsageError("\n".join(problems), "see atomtune train --help")

    @property
    def preset(self) -> str:
        """The preset of the spec, or "custom"."""
        return preset_name(self.spec)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; paths as text."""
        values = asdict(self)
        values["images"] = str(self.images)
        values["sample_prompts"] = list(self.sample_prompts)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainOptions":
        """The way back from `to_dict`. Raises AtomtuneError where fields are missing or unknown."""
        try:
            changed = dict(values)
            changed["concept"] = Concept(**values["concept"])
            changed["spec"] = AtomsSpec(**values["spec"])
            changed["images"] = Path(values["images"])
            changed["sample_prompts"] = tuple(values["sample_prompts"])
            return cls(**changed)
        except (KeyError, TypeError) as problem:
            raise AtomtuneError(
                f"run.json is incomplete ({problem})",
                "start again with --overwrite, or resume with the version that wrote it",
            ) from None


def resumed(stored: TrainOptions, asked: TrainOptions, explicit: frozenset[str]) -> TrainOptions:
    """The options of a resumed run: what it was started with; only `steps` may be raised.

    Args:
        stored: from run.json.
        asked: from the command line, defaults included.
        explicit: names of the fields of `asked` (and "spec") that the user really gave.

    Raises UsageError that lists every option given that differs.
    """
    was, now = stored.to_dict(), asked.to_dict()
    differing = [name for name in sorted(explicit) if name in now and name != "steps" and was[name] != now[name]]
    if differing:
        listed = "\n".join(f"{name} was {was[name]!r}, now {now[name]!r}" for name in differing)
        raise UsageError(
            f"the run cannot be resumed with other options:\n{listed}",
            "leave them out, or start again with --overwrite",
        )
    return replace(stored, steps=asked.steps) if "steps" in explicit else stored
