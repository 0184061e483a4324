"""Linear probing: nothing of the model is trained, only the head beside it.

It is for classifiers, whose head is trained in full beside any method (`attach(model, "linear-probe", train=["fc"])`);
each method of tuning has to be better than it.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..core.decompose import Decomposition
from .base import LayerPlan, check_all_used
from .specs import Spec


class NoTuning:
    """A `Tuning` that trains nothing."""

    def __init__(self) -> None:
        self.parameters: dict[str, nn.Parameter] = {}

    def export(self) -> dict[str, Tensor]:
        """See `Tuning.export`."""
        return {}

    def detach(self) -> None:
        """See `Tuning.detach`."""

    def set_scale(self, scale: float) -> None:
        """See `Tuning.set_scale`: at every scale the model is the base model."""


class LinearProbe:
    """The method."""

    name = "linear-probe"
    title = "the head and nothing else"
    learning_rate = 1e-3
    spec = Spec

    def plan(self, model: nn.Module, spec: Spec) -> list[LayerPlan]:
        """See `Method.plan`."""
        return []

    def attach(
        self, model: nn.Module, spec: Any, *, seed: int = 0, decomposition: Mapping[str, Decomposition] | None = None
    ) -> NoTuning:
        """See `Method.attach`."""
        return NoTuning()

    def changes(self, model: nn.Module, spec: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Method.changes`."""
        check_all_used(tensors, set())
        return {}


LINEAR_PROBE = LinearProbe()
