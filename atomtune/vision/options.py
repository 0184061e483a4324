"""Options of image classification. `ClassifyOptions` is all that a training run takes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import AtomtuneError, UsageError, excerpt
from ..files.run_result import result_in
from ..methods.options import TEXTUAL_INVERSION, default_spec, make_spec, spec_class, spec_options
from ..methods.options import learning_rate as own_learning_rate
from ..methods.registry import METHODS, method_names
from ..methods.specs import PRESETS, AtomsSpec, Spec, preset_name
from ..models.options import ModelOptions
from ..runtime.option import UNSET, Option, option, same_as
from ..runtime.options import Options, declared_options
from ..training.options import OptimizerOptions, RunOptions

CLASSIFIERS = Path("classifiers")
"""Where the runs of `classify train` are, by their names."""

LINEAR_PROBE = "linear-probe"

AUGMENTATIONS = ("none", "flip", "crop", "randaugment")

RANDOM = "random"
"""Weights that are not trained, for trials."""

_NAMED = "atoms:"


def trained_classifiers(incomplete: str) -> list[str]:
    """Names that complete a --name: folders of classifiers/ that hold a result."""
    folders = [path for path in CLASSIFIERS.glob("*/") if path.name.startswith(incomplete)]
    return sorted(path.name for path in folders if result_in(path).is_file())


def classifier_methods() -> tuple[str, ...]:
    """The methods for classifiers, and the presets of atoms as "atoms:c2"."""
    methods = [name for name in method_names() if name != TEXTUAL_INVERSION]
    return (LINEAR_PROBE, *methods, *(f"{_NAMED}{preset}" for preset in PRESETS))


def _listed_methods() -> tuple[str, ...]:
    return (LINEAR_PROBE, *(name for name in METHODS.known() if name != TEXTUAL_INVERSION), f"{_NAMED}PRESET")


def learning_rate(method: str) -> float:
    """The learning rate of a method of which nothing else is said: 1e-4 for all parameters, else the method's own."""
    return 1e-4 if method == "full" else own_learning_rate(method)


def classifier_spec(method: str) -> Spec:
    """The spec of a method of which nothing else is said: all layers, also where a diffusion model's are attention."""
    if method.startswith(_NAMED):
        return PRESETS[method.removeprefix(_NAMED)]
    spec = default_spec(method)
    return replace(spec, layers="all") if spec.layers == "attention" else spec


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(Options, panel="Model"):
    """The network that is tuned.

    Attributes:
        model: see `network.build`.
        image_size: None for the network's own.
    """

    model: str = option(
        ..., "Network: timm:NAME or timm:NAME.TAG, as timm:resnet50.a1_in1k; or torchvision:NAME.", metavar="NETWORK"
    )
    weights: str | None = option(
        None,
        "File of its weights (.safetensors), or random.",
        metavar="FILE",
        shown_default="the hub's, as NETWORK names them",
    )
    image_size: int | None = option(
        None,
        "Side of the images in pixels.",
        at_least=8,
        at_most=4096,
        metavar="N",
        shown_default="the network's",
        aliases=("resolution",),
    )
    device: str | None = same_as(ModelOptions, "device")
    precision: str = same_as(ModelOptions, "precision")


@dataclass(frozen=True, kw_only=True)
class ClassDataOptions(Options, panel="Images"):
    """What is learned, and from which images."""

    name: str = option(..., "Name of the classifier.", metavar="NAME")
    images: Path = option(..., "Folder of training images, with a folder for each class.", metavar="DIR")
    augment: str = option(
        "crop",
        "Augmentation by timm: none, flip, crop (random resized crops, flips) or randaugment.",
        choices=AUGMENTATIONS,
    )
    workers: int | None = option(
        None,
        "Processes that read images.",
        at_least=0,
        at_most=64,
        metavar="N",
        shown_default="4 with a GPU, else none",
        aliases=("dataloader_num_workers",),
    )

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        plain = self.name.replace("-", "").replace("_", "").replace(".", "")
        if not plain.isalnum() or self.name.startswith(".") or len(self.name) > 80:
            yield "name", f"must be of letters, digits, '.', '-' and '_', not {excerpt(self.name, 40)!r}"


@dataclass(frozen=True, kw_only=True)
class ClassifierMethodOptions(Options, panel="Method"):
    """How the network is tuned; its head is trained in full beside any method.

    Attributes:
        method: by its name, or "atoms:PRESET", which becomes "atoms" with that spec.
        spec: the method's own, its defaults where nothing is given.
    """

    method: str = option(
        "atoms",
        "Tuning method; atoms:c1 is atoms with that preset.",
        choices=classifier_methods,
        listed=_listed_methods,
    )
    spec: Spec = option(None, "", derived=lambda options: classifier_spec(options.method))

    def __post_init__(self) -> None:
        if isinstance(self.method, str) and self.method in classifier_methods() and self.method.startswith(_NAMED):
            if self.spec is UNSET:
                object.__setattr__(self, "spec", classifier_spec(self.method))
            object.__setattr__(self, "method", "atoms")
        super().__post_init__()

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        if not isinstance(self.spec, spec_class(self.method)):
            yield "spec", f"is not one of the method {self.method}"

    @classmethod
    def more_options(cls) -> tuple[Option, ...]:
        """The options of all methods' specs."""
        methods = [name for name in METHODS.known() if name != TEXTUAL_INVERSION]
        found = spec_options(ClassifierMethodOptions, methods, taken={item.name for item in declared_options(cls)})
        return tuple(replace(item, shown_default="all") if item.name == "layers" else item for item in found)

    @classmethod
    def _assembled(cls, name: str, inside: Mapping[str, Any], flat: Mapping[str, Any]) -> Any:
        if name != "spec":
            return super()._assembled(name, inside, flat)
        method = flat.get("method", "atoms")
        if method.startswith(_NAMED) and method in classifier_methods():
            inside, method = {"preset": method.removeprefix(_NAMED)} | dict(inside), "atoms"
        method = method if method in METHODS else "atoms"
        if method != "atoms":
            inside = {"layers": classifier_spec(method).layers} | dict(inside)
        return make_spec(method, inside)

    @classmethod
    def _revived(cls, name: str, value: Any, flat: Mapping[str, Any]) -> Any:
        if name == "spec":
            return spec_class(flat.get("method", "atoms")).from_dict(value)
        return super()._revived(name, value, flat)

    @property
    def preset(self) -> str:
        """The preset of the spec, or "custom"; the method's name for methods other than atoms."""
        return preset_name(self.spec) if isinstance(self.spec, AtomsSpec) else self.method


@dataclass(frozen=True, kw_only=True)
class EpochOptions(Options, panel="Optimizer"):
    """Epochs, batches, and how the parameters move."""

    epochs: int = option(100, "Times that every image is seen.", at_least=1, metavar="N", aliases=("num_train_epochs",))
    batch_size: int = same_as(OptimizerOptions, "batch_size", default=32, help="Images per step.", panel=None)
    optimizer: str = same_as(OptimizerOptions, "optimizer")
    optimizer_args: tuple[str, ...] = same_as(OptimizerOptions, "optimizer_args")
    lr: float = same_as(
        OptimizerOptions,
        "lr",
        derived=lambda options: 1.0 if options.optimizer == "prodigy" else learning_rate(options.method),
        shown_default="1e-3; loldu 5e-4, full 1e-4",
    )
    lr_scheduler: str = same_as(OptimizerOptions, "lr_scheduler", default="cosine")
    warmup_share: float = option(
        0.1, "Share of the steps in which the learning rate rises from 0.", at_least=0, below=1, metavar="X"
    )
    weight_decay: float = same_as(OptimizerOptions, "weight_decay", default=1e-4)
    max_grad_norm: float = same_as(OptimizerOptions, "max_grad_norm")
    label_smoothing: float = option(0.0, "Label smoothing.", at_least=0, below=1, metavar="X")

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        try:
            self.by_steps(1)
        except UsageError as problem:
            yield from getattr(problem, "problems", [("optimizer", problem.message)])

    def by_steps(self, steps: int) -> OptimizerOptions:
        """The same as options of so many steps."""
        constant = self.lr_scheduler == "constant"
        return OptimizerOptions(
            steps=steps,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            optimizer_args=self.optimizer_args,
            lr=self.lr,
            lr_scheduler=self.lr_scheduler,
            warmup=0 if constant else int(self.warmup_share * steps),
            weight_decay=self.weight_decay,
            max_grad_norm=self.max_grad_norm,
        )


@dataclass(frozen=True, kw_only=True)
class ClassifyOptions(ClassDataOptions, NetworkOptions, ClassifierMethodOptions, EpochOptions, RunOptions):
    """The training of a classifier, as `ClassifyOptions(name="flowers", images=Path("flowers"), model="timm:…")`."""

    hint = "atomtune classify train --help says what is allowed"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ClassifyOptions":
        """The options in a run.json. Raises AtomtuneError where fields are missing, unknown or impossible."""
        try:
            return super().from_dict(values)
        except (LookupError, TypeError, ValueError, AttributeError, UsageError) as problem:
            raise AtomtuneError(
                f"run.json is incomplete ({excerpt(problem)})",
                "start again with --overwrite, or use the version that wrote it",
            ) from None
