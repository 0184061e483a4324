"""The options of a training run, by group. `TrainOptions` is all of them together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from ..data.options import DataOptions, TaughtConcept
from ..errors import AtomtuneError, UsageError, excerpt
from ..methods.options import TEXTUAL_INVERSION, MethodOptions, learning_rate
from ..models.options import ModelOptions
from ..runtime.option import option, same_as
from ..runtime.options import Options
from .loss_options import LossOptions
from .preservation_options import PreservationOptions
from .prior_options import PriorOptions, class_prompt
from .validation_options import ValidationOptions

OPTIMIZERS = ("adamw", "adamw8bit", "prodigy")

SCHEDULES = {
    "constant": "constant",
    "constant-with-warmup": "constant_with_warmup",
    "linear": "linear",
    "cosine": "cosine",
    "cosine-restarts": "cosine_with_restarts",
    "polynomial": "polynomial",
}
"""diffusers' schedules by the names of `--lr-scheduler`."""

TRACKERS = ("tensorboard", "wandb")


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions(Options, panel="Optimizer"):
    """Steps, batches, and how the parameters move.

    Attributes:
        batch_size: images that each process takes at a time; grad_accum: such batches in a step.
        lr: see the methods' `learning_rate`.
        ema: the average of the parameters is what previews show and what is written.
    """

    steps: int = option(1000, "Optimizer steps.", at_least=1, metavar="N", aliases=("max_train_steps",), essential=True)
    batch_size: int = option(
        1, "Images per batch and device.", at_least=1, metavar="N", aliases=("train_batch_size",), essential=True
    )
    grad_accum: int = option(
        1,
        "Gradient accumulation: batches whose mean gradient makes a step.",
        at_least=1,
        metavar="N",
        aliases=("gradient_accumulation_steps",),
    )
    optimizer: str = option(
        "adamw",
        "Optimizer: adamw, adamw8bit (bitsandbytes), prodigy (prodigyopt), or a package's class, as torch.optim.SGD.",
        metavar="NAME",
        aliases=("optimizer_type",),
    )
    optimizer_args: tuple[str, ...] = option(
        (),
        "Any argument of the optimizer's class; give it again for more.",
        name="optimizer_arg",
        metavar="NAME=VALUE",
        aliases=("optimizer_args",),
    )
    lr: float = option(
        None,
        "Learning rate; 1 for prodigy.",
        above=0,
        below=10,
        derived=lambda options: learning_rate(getattr(options, "method", "atoms")),
        shown_default="1e-3; loldu 5e-4, full 5e-6, textual-inversion 5e-3",
        metavar="X",
        aliases=("learning_rate",),
        essential=True,
    )
    text_encoder_lr: float | None = option(
        None,
        "Learning rate of the text encoders.",
        above=0,
        below=10,
        shown_default="that of --lr",
        metavar="X",
        aliases=("learning_rate_te",),
    )
    token_lr: float | None = option(
        None,
        "Learning rate of the token's embedding.",
        above=0,
        below=10,
        shown_default="that of --lr",
        metavar="X",
    )
    lr_scheduler: str = option("constant", "Learning rate schedule.", choices=tuple(SCHEDULES))
    warmup: int = option(
        0,
        "Warmup steps of the learning rate.",
        at_least=0,
        metavar="N",
        aliases=("lr_warmup_steps",),
    )
    lr_cycles: int = option(
        3,
        "Cycles of the cosine-restarts schedule.",
        at_least=1,
        metavar="N",
        aliases=("lr_num_cycles", "lr_scheduler_num_cycles"),
    )
    lr_power: float = option(
        1.0, "Power of the polynomial schedule.", above=0, below=100, metavar="X", aliases=("lr_scheduler_power",)
    )
    weight_decay: float = option(1e-2, "Weight decay.", at_least=0, metavar="X", aliases=("adam_weight_decay",))
    max_grad_norm: float = option(1.0, "Clip gradients to this norm; 0 disables clipping.", at_least=0, metavar="X")
    ema: bool = option(
        False,
        "Exponential moving average of the trained parameters, for previews and the result.",
        aliases=("use_ema",),
    )
    ema_decay: float = option(0.9999, "Decay of the moving average.", at_least=0, below=1, metavar="X")

    def __post_init__(self) -> None:
        if str(self.optimizer).lower() in OPTIMIZERS:  # kohya's users write AdamW
            object.__setattr__(self, "optimizer", self.optimizer.lower())
        super().__post_init__()

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        if self.optimizer not in OPTIMIZERS and "." not in self.optimizer:
            yield (
                "optimizer",
                f"must be one of {', '.join(OPTIMIZERS)}, or a class as PACKAGE.CLASS, not {self.optimizer}",
            )
        for text in self.optimizer_args:
            if not text.partition("=")[0].isidentifier() or "=" not in text:
                yield "optimizer_arg", f"takes NAME=VALUE, not {excerpt(text)!r}"
        if self.warmup and self.lr_scheduler == "constant":
            yield "warmup", "needs an lr_scheduler that has one: constant-with-warmup, linear, cosine, …"
        for name in ("text_encoder_lr", "token_lr"):
            if getattr(self, name) is not None and self.optimizer == "prodigy":
                yield name, "cannot be had with prodigy, which finds one learning rate for all"
        if self.warmup >= self.steps:
            yield "warmup", f"must be below the number of steps, which is {self.steps}, not {self.warmup}"


@dataclass(frozen=True, kw_only=True)
class SpeedOptions(Options, panel="Memory and speed"):
    """How a step is carried out; see `setup.choose_stepping` and `model.place`."""

    gradient_checkpointing: bool = option(False, "Gradient checkpointing: less memory, a third more time.")
    low_memory: bool = option(False, "Gradient checkpointing, and frozen weights of adapted layers in half precision.")
    cuda_graph: bool = option(True, "Record a training step as a CUDA graph and replay it.")
    compile: bool = option(
        False, "Use torch.compile, for long runs; its first step is checked.", aliases=("torch_compile",)
    )


@dataclass(frozen=True, kw_only=True)
class PreviewOptions(Options, panel="Preview"):
    """Images that are generated while training; see `preview`."""

    sample_every: int = option(
        0,
        "Generate preview images every N steps; 0 for none.",
        at_least=0,
        metavar="N",
        aliases=("validation_steps", "sample_every_n_steps"),
        essential=True,
    )
    sample_prompts: tuple[str, ...] = option(
        (),
        "Prompt of preview images; give it again for more.",
        name="sample_prompt",
        metavar="PROMPT",
        shown_default="the training prompt",
        aliases=("validation_prompt",),
        essential=True,
    )
    sample_steps: int = option(25, "Denoising steps of preview images.", at_least=1, metavar="N")

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        if self.sample_prompts and not self.sample_every:
            yield "sample_prompt", "needs sample_every"


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options, panel="Run"):
    """Seed, checkpoints and logs of a run."""

    seed: int = option(0, "Random seed.", metavar="N")
    checkpoint_every: int = option(
        250,
        "Save a checkpoint every N steps, and at the end.",
        at_least=1,
        metavar="N",
        aliases=("checkpointing_steps", "save_every_n_steps"),
    )
    tracker: str | None = option(
        None,
        "Log loss and learning rate there too, besides log.jsonl.",
        choices=TRACKERS,
        aliases=("report_to", "log_with"),
    )


@dataclass(frozen=True, kw_only=True)
class PrepareOptions(DataOptions):
    """What `prepare` needs to know of a run: images, captions, and what decides how they are cut."""

    model: str | None = same_as(ModelOptions, "model")
    validate: int | None = same_as(ValidationOptions, "validate")
    seed: int = same_as(RunOptions, "seed")


@dataclass(frozen=True, kw_only=True)
class TrainOptions(
    DataOptions,
    ModelOptions,
    MethodOptions,
    OptimizerOptions,
    LossOptions,
    PriorOptions,
    PreservationOptions,
    SpeedOptions,
    PreviewOptions,
    ValidationOptions,
    RunOptions,
):
    """A training run, as `TrainOptions(concept=Concept("mug", "cup"), steps=500)`.

    Every option of every group is a keyword and an attribute. A helper that needs one group is handed all of this and
    sees, by its annotation, that group alone.
    """

    hint = "atomtune train --help says what is allowed"

    @property
    def taught(self) -> tuple[TaughtConcept, ...]:
        """See `DataOptions.taught`; with what is said of the classes."""
        first, *others = super().taught
        return (replace(first, prior_prompt=self.prior_prompt, prior_dir=self.prior_dir), *others)

    @property
    def class_prompts(self) -> list[str]:
        """The prompt of each concept's class images. Raises UsageError as `class_prompt`."""
        return [class_prompt(taught.prior_prompt, taught.concept) for taught in self.taught]

    @property
    def token_vectors(self) -> int:
        """The vectors of all tokens together."""
        return sum(concept.token_vectors for concept in self.concepts)

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        try:
            _ = self.class_prompts if self.prior_preservation else ()
        except UsageError as problem:
            yield "prior_prompt", problem.message
        if self.token_lr is not None and not self.train_token:
            yield "token_lr", "needs train_token; with textual-inversion lr is the token's"
        if self.text_encoder_lr is not None and not self.train_text_encoder:
            yield "text_encoder_lr", "needs train_text_encoder"
        if not self.prior_preservation and any(other.prior_prompt or other.prior_dir for other in self.others):
            yield "other_concept", "has a prior_prompt or prior_dir, which needs prior_preservation"
        if self.token_vectors > len(self.concepts) and not self.trains_token:
            yield "token_vectors", "needs train_token, or the method textual-inversion"
        if self.preserve and self.method == TEXTUAL_INVERSION:
            yield "preserve", "is for other methods: textual-inversion changes no prompt without the token"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The options in a run.json, with groups or, as up to version 0.1, without.

        Raises AtomtuneError where fields are missing, unknown or of other types, UsageError for impossible values.
        """
        try:
            return super().from_dict(values)
        except UsageError as problem:
            lines = problem.message.splitlines()
            raise UsageError("\n".join(map(excerpt, lines)), "start again with --overwrite") from None
        except (LookupError, TypeError, ValueError, AttributeError) as problem:
            raise AtomtuneError(
                f"run.json is incomplete ({excerpt(problem)})",
                "start again with --overwrite, or resume with the version that wrote it",
            ) from None
