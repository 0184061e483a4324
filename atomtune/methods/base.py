"""The contract of a tuning method, and what all of them share."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ..core.decompose import Decomposition
from ..core.precision import all_finite
from ..errors import AtomtuneError, excerpt
from ..runtime.units import counted
from .specs import Spec


@dataclass(frozen=True)
class LayerPlan:
    """One layer as a method would train it.

    Attributes:
        name: dotted name in the UNet.
        group: the block it belongs to, as "down_blocks.1".
        kind: "conv" (more than one tap), "conv 1x1", "linear", or "other" (norms, embeddings).
        parameters: trained parameters of this layer.
        rows, row_length, atoms: how its weight is cut, and its atoms; 0 for methods that cut none.
        stored: numbers of this layer that the file holds; None for as many as are trained.
    """

    name: str
    group: str
    kind: str
    parameters: int
    rows: int = 0
    row_length: int = 0
    atoms: int = 0
    stored: int | None = None

    @property
    def in_file(self) -> int:
        """Numbers of this layer that the file holds, each in float16."""
        return self.parameters if self.stored is None else self.stored


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

    def set_scale(self, scale: float) -> None:
        """Have the model compute with W + scale·ΔW; at 1 as it is trained."""


@runtime_checkable
class Switchable(Protocol):
    """A `Tuning` that can be switched off and on again faster than `set_scale` does, at every step of a training."""

    def switched_off(self) -> AbstractContextManager[None]:
        """Within the context, which begins at scale 1, the model computes as before it was tuned, without gradients."""


@runtime_checkable
class Startable(Protocol):
    """A `Tuning` that can begin with what a file holds."""

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `export` gave, so that the model computes as one into which the file is merged.

        Raises AtomtuneError where the tensors do not fit.
        """


@contextmanager
def switched_off(tuning: Tuning) -> Iterator[None]:
    """Within the context, which begins at scale 1, a model computes as before it was tuned, without gradients."""
    if isinstance(tuning, Switchable):
        with tuning.switched_off():
            yield
        return
    tuning.set_scale(0.0)
    try:
        yield
    finally:
        tuning.set_scale(1.0)


class Method(Protocol):
    """A way to tune a model. One object a method, by its name in `atomtune.methods.METHODS`.

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


@torch.no_grad()
def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as files hold them: float16, on the CPU. Raises AtomtuneError where one is not finite."""
    half = {key: tensor.detach().to("cpu", torch.float16).contiguous() for key, tensor in tensors.items()}
    for key, tensor in half.items():
        if not all_finite(tensor):
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
            + (f" and {counted(len(foreign) - 1, 'more tensor')}" if len(foreign) > 1 else ""),
            "use the base model that atomtune inspect names, or one of the same architecture",
        )
