"""What a training run is asked to do, as one value that run.json can hold."""

import types
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from ..data.concept import Concept
from ..data.crop import CROPS
from ..errors import AtomtuneError, UsageError, excerpt
from ..methods import METHODS
from ..methods.specs import AtomsSpec, Spec, preset_name
from ..methods.textual_inversion import TextualInversion
from .optimizers import OPTIMIZERS, SCHEDULES
from .trackers import TRACKERS

PRECISIONS = ("fp32", "fp16", "bf16")


@dataclass(frozen=True)
class TrainOptions:
    """A training run.

    Attributes:
        concept: what is taught.
        images: folder of its images.
        model: base model, as for `models.resolve`; None for the default.
        method: by its name in `METHODS`; spec: the method's own, what is trained.
        prompt: the caption of every image without a text file of its own; `<name>` or `{}` stands for the concept.
        steps: optimiser steps; batch_size: images that each process takes at a time.
        lr, weight_decay: of the optimiser.
        grad_accum: batches whose mean gradient makes a step.
        gradient_checkpointing: compute activations again on the way back, for less memory.
        low_memory: that, and hold what is frozen in half precision; see `placing`.
        cuda_graph: record the steps on CUDA and replay them, where that can be; see `speed`.
        compile: compile the model with torch.compile, and check its first step.
        optimizer, lr_scheduler, lr_cycles, lr_power: see `optimizers`; warmup: steps on which the rate rises from 0.
        max_grad_norm: longer gradients are cut to this norm; 0 for never.
        min_snr_gamma, noise_offset: see `objective`.
        prior_preservation, prior_images, prior_weight, prior_prompt: see `prior`; no prompt for "a photo of a" and the
            class noun, for which `{}` stands in a prompt.
        ema, ema_decay: average the parameters over the steps; the average is drawn and written.
        tracker: "tensorboard" or "wandb".
        train_text_encoder: tune the text encoders too, see `parts`; train_token: learn the token's embedding too.
        resolution: side of the training images in pixels; None for the model's own.
        crop: where the square is cut out, see `crop.square`; flip: show each image mirrored half of the time.
        precision: compute type; weights added and trained in float32 all the same.
        device: "cpu", "cuda", …; None for the best there is.
        sample_every, sample_prompts: draw these prompts every so many steps; 0 for never.
        checkpoint_every: save the state every so many steps; it is always saved at the end.
    """

    concept: Concept
    images: Path
    model: str | None = None
    method: str = "atoms"
    spec: Spec = field(default_factory=AtomsSpec)
    prompt: str = "a photo of a {}"
    steps: int = 1000
    batch_size: int = 1
    lr: float = 1e-3
    weight_decay: float = 1e-2
    seed: int = 0
    resolution: int | None = None
    crop: str = "center"
    flip: bool = False
    precision: str = "fp32"
    device: str | None = None
    sample_every: int = 0
    sample_prompts: tuple[str, ...] = ()
    sample_steps: int = 25
    checkpoint_every: int = 250
    grad_accum: int = 1
    gradient_checkpointing: bool = False
    low_memory: bool = False
    cuda_graph: bool = True
    compile: bool = False
    optimizer: str = "adamw"
    lr_scheduler: str = "constant"
    warmup: int = 0
    lr_cycles: int = 3
    lr_power: float = 1.0
    max_grad_norm: float = 1.0
    min_snr_gamma: float | None = None
    noise_offset: float = 0.0
    prior_preservation: bool = False
    prior_images: int = 100
    prior_weight: float = 1.0
    prior_prompt: str | None = None
    ema: bool = False
    ema_decay: float = 0.9999
    tracker: str | None = None
    train_text_encoder: bool = False
    train_token: bool = False

    def __post_init__(self) -> None:
        low: dict[str, float] = {
            "steps": 1,
            "batch_size": 1,
            "sample_every": 0,
            "checkpoint_every": 1,
            "sample_steps": 1,
            "grad_accum": 1,
            "warmup": 0,
            "lr_cycles": 1,
            "max_grad_norm": 0,
            "noise_offset": 0,
            "prior_images": 1,
            "prior_weight": 0,
        }
        problems = [f"{name} must be at least {least}" for name, least in low.items() if getattr(self, name) < least]
        if not 0.0 < self.lr < 10.0:
            problems.append(f"lr must be between 0 and 10, not {self.lr}")
        if self.weight_decay < 0.0:
            problems.append("weight_decay must not be negative")
        problems += self._problems_of_training()
        if self.resolution is not None and (self.resolution < 8 or self.resolution % 8):
            problems.append(f"resolution must be a multiple of 8, not {self.resolution}")
        if self.concept.name not in self.prompt and "{}" not in self.prompt and self.concept.token not in self.prompt:
            problems.append(f"the training prompt {self.prompt!r} does not name the concept")
        if self.sample_prompts and not self.sample_every:
            problems.append("sample prompts need sample_every")
        if problems:
            raise UsageError("\n".join(problems), "see atomtune train --help")

    def _problems_of_training(self) -> list[str]:
        choices: dict[str, Collection[str | None]] = {
            "method": METHODS,
            "crop": CROPS,
            "precision": PRECISIONS,
            "optimizer": OPTIMIZERS,
            "lr_scheduler": SCHEDULES,
            "tracker": (None, *TRACKERS),
        }
        problems = [
            f"{name} must be one of {', '.join(word for word in allowed if word)}, not {getattr(self, name)!r}"
            for name, allowed in choices.items()
            if getattr(self, name) not in allowed
        ]
        if self.method in METHODS and not isinstance(self.spec, METHODS[self.method].spec):
            problems.append(f"the spec is not one of the method {self.method}")
        if self.method == TextualInversion.name and self.train_text_encoder:
            problems.append("textual-inversion trains an embedding alone; train_text_encoder is for other methods")
        if self.warmup and self.lr_scheduler == "constant":
            problems.append("warmup needs an lr_scheduler that knows it: constant-with-warmup, linear, cosine, …")
        if self.warmup >= self.steps > 0:
            problems.append(f"warmup must be below the {self.steps} steps, not {self.warmup}")
        if not 0.0 < self.lr_power < 100.0:
            problems.append(f"lr_power must be between 0 and 100, not {self.lr_power}")
        if self.min_snr_gamma is not None and not self.min_snr_gamma > 0.0:
            problems.append(f"min_snr_gamma must be above 0, not {self.min_snr_gamma}")
        if not 0.0 <= self.ema_decay < 1.0:
            problems.append(f"ema_decay must be at least 0 and below 1, not {self.ema_decay}")
        if self.prior_prompt is not None and not self.prior_preservation:
            problems.append("prior_prompt needs prior_preservation")
        return problems

    @property
    def class_prompt(self) -> str:
        """The prompt of the class images."""
        return (self.prior_prompt or "a photo of a {}").replace("{}", self.concept.class_noun)

    @property
    def preset(self) -> str:
        """The preset of the spec, or "custom"; the method's name for methods other than atoms."""
        return preset_name(self.spec) if isinstance(self.spec, AtomsSpec) else self.method

    @property
    def trains_token(self) -> bool:
        """Whether the embedding of the concept's token is learned."""
        return self.train_token or self.method == TextualInversion.name

    @property
    def encoders_learn(self) -> bool:
        """Whether captions have to be encoded anew at every step."""
        return self.train_text_encoder or self.trains_token

    def to_dict(self) -> dict[str, Any]:
        """For JSON; paths as text."""
        values = asdict(self)
        values["images"] = str(self.images)
        values["sample_prompts"] = list(self.sample_prompts)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainOptions":
        """The way back from `to_dict`.

        Raises AtomtuneError where fields are missing, unknown or of other types, UsageError for impossible values.
        """
        try:
            changed = dict(values)
            changed["concept"] = Concept(**values["concept"])
            changed["spec"] = METHODS[values.get("method", "atoms")].spec.from_dict(values["spec"])
            changed["images"] = Path(values["images"])
            if isinstance(values["sample_prompts"], list):
                changed["sample_prompts"] = tuple(values["sample_prompts"])
            for name, kind in get_type_hints(cls).items():
                if name in changed and not _is_of(changed[name], kind):
                    raise ValueError(f"{name} is {changed[name]!r}")
            return cls(**changed)
        except UsageError as problem:
            lines = problem.message.splitlines()
            raise UsageError("\n".join(map(excerpt, lines)), "start again with --overwrite") from None
        except (LookupError, TypeError, ValueError, AttributeError) as problem:
            raise AtomtuneError(
                f"run.json is incomplete ({excerpt(problem)})",
                "start again with --overwrite, or resume with the version that wrote it",
            ) from None


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a value out of JSON is of a field's type."""
    if isinstance(kind, types.UnionType):
        return any(_is_of(value, one) for one in get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    if kind is int:
        return type(value) is int and abs(value) < 2**63  # True is an int too
    if kind is float:
        return isinstance(value, float) or _is_of(value, int)
    return isinstance(value, kind)
