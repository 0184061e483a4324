"""What every tuning method shares: how layers are chosen, grouped and counted."""

import fnmatch
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from ..adapt import adaptable_layers
from ..core.decompose import Decomposition
from ..core.deltas import WeightDelta
from ..errors import UsageError, excerpt

ATTENTION_PROJECTIONS = ("*.to_q", "*.to_k", "*.to_v", "*.to_out.0")


@dataclass(frozen=True)
class LayerPlan:
    """One layer as a method would train it.

    Attributes:
        name: dotted name in the UNet.
        group: the block it belongs to, as "down_blocks.1".
        kind: "conv" (more than one tap), "conv 1x1" or "linear".
        rows, row_length: how its weight is cut.
        parameters: trained parameters of this layer.
    """

    name: str
    group: str
    kind: str
    rows: int
    row_length: int
    parameters: int


class Method(Protocol):
    """A way to tune a model's weights. One object a method, in `atomtune.methods.METHODS`."""

    name: str

    def spec_from(self, fields: Mapping[str, Any]) -> Any:
        """The spec that an atoms file's JSON describes. Raises UsageError for unknown or impossible fields."""

    def plan(self, model: nn.Module, spec: Any) -> list[LayerPlan]:
        """What would be trained; shapes only, so a model on the meta device will do."""

    def create(self, model: nn.Module, spec: Any, decomposition: Mapping[str, Decomposition]) -> dict[str, WeightDelta]:
        """Fresh deltas, one a layer, whose change is zero."""

    def export(self, deltas: Mapping[str, WeightDelta]) -> dict[str, Tensor]:
        """The tensors of the atoms file: all that is needed beside the base model."""

    def restore(self, model: nn.Module, spec: Any, tensors: Mapping[str, Tensor]) -> dict[str, WeightDelta]:
        """Deltas from an atoms file's tensors and the base model's weights.

        Raises AtomtuneError where they do not fit.
        """


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
    """ "conv", "conv 1x1" or "linear"."""
    if isinstance(layer, nn.Conv2d):
        return "conv" if math.prod(layer.kernel_size) > 1 else "conv 1x1"
    return "linear"


def group_of(name: str) -> str:
    """The block a layer belongs to: "down_blocks.1.resnets.0.conv1" → "down_blocks.1"."""
    parts = name.split(".")
    return ".".join(parts[:2]) if len(parts) > 1 and parts[1].isdigit() else parts[0]
