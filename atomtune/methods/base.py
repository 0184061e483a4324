"""What every tuning method shares: the contract, and how layers are chosen, grouped and counted."""

import fnmatch
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from ..adapt import adaptable_layers
from ..core.decompose import Decomposition
from ..errors import AtomtuneError, UsageError, excerpt

ATTENTION_PROJECTIONS = ("*.to_q", "*.to_k", "*.to_v", "*.to_out.0")


@dataclass(frozen=True)
class LayerPlan:
    """One layer as a method would train it.

    Attributes:
        name: dotted name in the UNet.
        group: the block it belongs to, as "down_blocks.1".
        kind: "conv" (more than one tap), "conv 1x1", "linear", or "other" (norms, embeddings).
        parameters: trained parameters of this layer.
        rows, row_length: how its weight is cut; 0 for methods that cut none.
    """

    name: str
    group: str
    kind: str
    parameters: int
    rows: int = 0
    row_length: int = 0


_LONGEST_CHOICE = 20_000


@dataclass(frozen=True)
class Spec:
    """What a method trains, as JSON can hold it. Each method has its own.

    Attributes:
        layers: which layers, as for `select_layers`.
    """

    layers: str = "all"

    def __post_init__(self) -> None:
        if not isinstance(self.layers, str):
            raise UsageError("layers must be text", "see atomtune train --help")
        if len(self.layers) > _LONGEST_CHOICE:
            raise UsageError(
                f"layers has {len(self.layers):,} characters", "patterns such as 'up_blocks.*' are shorter"
            )

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` is the way back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The spec that JSON describes. Raises UsageError for unknown or impossible fields."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise UsageError(
                f"unknown spec fields: {excerpt(', '.join(unknown))}", "a newer atomtune may have written the file"
            )
        return cls(**values)


class Tuning(Protocol):
    """A model that is being tuned: its trained parameters, and the way back."""

    parameters: dict[str, nn.Parameter]
    """What is trained, float32, by name. Nothing else of the model requires gradients."""

    def export(self) -> dict[str, Tensor]:
        """The tensors of the file, float16: all that is needed beside the base model.

        Raises AtomtuneError where one is not finite.
        """

    def detach(self) -> None:
        """Give the model its own modules and weights back, bit for bit."""


class Method(Protocol):
    """A way to tune a model. One object a method, in `atomtune.methods.METHODS`.

    Attributes:
        name: on the command line and in files.
        title: what it trains, in a few words.
        learning_rate: the one its authors use with AdamW, or the paper where they tune no diffusion model.
        spec: the class of its specs.
    """

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def learning_rate(self) -> float: ...

    @property
    def spec(self) -> type[Spec]: ...

    def plan(self, model: nn.Module, spec: Any) -> list[LayerPlan]:
        """What would be trained; shapes only, so a model on the meta device will do."""

    def attach(
        self, model: nn.Module, spec: Any, *, seed: int = 0, decomposition: Mapping[str, Decomposition] | None = None
    ) -> Tuning:
        """Make a model that is frozen ready for training. Its output stays the same, bit for bit.

        Args:
            seed: of random starts.
            decomposition: of the model, for the methods that need one and else make it now.
        """

    def changes(self, model: nn.Module, spec: Any, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """What a file's tensors add to the model's own: ΔW by parameter name, in float32. The model stays as it is.

        Each may be computed as it is asked for, from the model's parameter of that name as it then is.
        Raises AtomtuneError where they do not fit.
        """


class ComputedChanges(Mapping[str, Tensor]):
    """Changes that are computed each time they are asked for, so that all of them never take memory at once."""

    def __init__(self, computed: Mapping[str, Callable[[], Tensor]]) -> None:
        self._computed = computed

    def __getitem__(self, name: str) -> Tensor:
        with torch.no_grad():
            return self._computed[name]()

    def __contains__(self, name: object) -> bool:
        return name in self._computed  # without computing it

    def __iter__(self) -> Iterator[str]:
        return iter(self._computed)

    def __len__(self) -> int:
        return len(self._computed)


def whole_number(name: str, value: Any, low: int, high: int, hint: str = "see atomtune train --help") -> None:
    """Raise UsageError unless a field of a spec is a whole number in a range."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{name} must be a whole number from {low} to {high}, got {excerpt(repr(value))}", hint)


def number(name: str, value: Any, low: float, high: float, hint: str = "see atomtune train --help") -> None:
    """Raise UsageError unless a field of a spec is a number in a range, the bounds included."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UsageError(f"{name} must be between {low:g} and {high:g}, got {excerpt(repr(value))}", hint)


@torch.no_grad()
def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as files hold them: float16, on the CPU. Raises AtomtuneError where one is not finite."""
    half = {key: tensor.detach().to("cpu", torch.float16).contiguous() for key, tensor in tensors.items()}
    for key, tensor in half.items():
        if not bool(torch.isfinite(tensor).all()):
            raise AtomtuneError(f"{key} is not finite in float16", "training diverged: use a lower --lr")
    return half


def held(tensors: Mapping[str, Tensor], key: str, shape: tuple[int, ...]) -> Tensor:
    """A file's tensor by its name. Raises AtomtuneError where it is missing, or of another shape or type."""
    hint = "use the base model that atomtune inspect names, or one of the same architecture"
    if key not in tensors:
        raise AtomtuneError(f"the atoms file holds nothing for {key}, which the base model has", hint)
    tensor = tensors[key]
    if tuple(tensor.shape) != shape:
        raise AtomtuneError(f"{key} has shape {tuple(tensor.shape)}, the base model needs {shape}", hint)
    if tensor.dtype != torch.float16:  # wider types hold values that overflow in what is computed from them
        raise AtomtuneError(f"{key} is not in float16", "fetch or train it again")
    return tensor


def check_all_used(tensors: Mapping[str, Tensor], used: set[str]) -> None:
    """Raise AtomtuneError where a file holds tensors that the model has no place for."""
    if foreign := sorted(set(tensors) - used):
        raise AtomtuneError(
            f"the atoms are of another architecture: the model has no place for {excerpt(foreign[0])}"
            + (f" and {len(foreign) - 1} more tensors" if len(foreign) > 1 else ""),
            "use the base model that atomtune inspect names, or one of the same architecture",
        )


def select_layers(model: nn.Module, layers: str) -> dict[str, nn.Module]:
    """The layers a choice names, in the model's order.

    `layers` is "all", "conv" (convolutions of more than one tap), "attention" (to_q, to_k, to_v, to_out, as diffusers'
    LoRA trains), or shell patterns on dotted names, separated by commas ("up_blocks.*,*.ff.*").

    Raises UsageError where a pattern matches no layer, or the model has none of the kind.
    """
    candidates = adaptable_layers(model)
    if layers in ("all", "conv"):
        chosen = {name: layer for name, layer in candidates.items() if layers == "all" or kind_of(layer) == "conv"}
        if not chosen:
            raise UsageError(f"the model has no layers for {excerpt(repr(layers))}", "--layers chooses others")
        return chosen
    patterns = ATTENTION_PROJECTIONS if layers == "attention" else tuple(p.strip() for p in layers.split(","))
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in candidates):
            raise UsageError(
                f"no layer of the model matches {excerpt(repr(pattern))}",
                "layers are all, conv, attention, or patterns such as 'up_blocks.*' or '*.attn2.to_k'",
            )
    return {name: layer for name, layer in candidates.items() if any(fnmatch.fnmatchcase(name, p) for p in patterns)}


def kind_of(layer: nn.Module) -> str:
    """ "conv", "conv 1x1", "linear" or "other"."""
    if isinstance(layer, nn.Conv2d):
        return "conv" if math.prod(layer.kernel_size) > 1 else "conv 1x1"
    return "linear" if isinstance(layer, nn.Linear) else "other"


def weight_of(layer: nn.Module) -> Tensor:
    """A layer's weight."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight


def group_of(name: str) -> str:
    """The block a layer belongs to: "down_blocks.1.resnets.0.conv1" → "down_blocks.1"."""
    parts = name.split(".")
    return ".".join(parts[:2]) if len(parts) > 1 and parts[1].isdigit() else parts[0]
