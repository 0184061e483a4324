"""What several atoms files change together, one parameter at a time."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core.precision import all_finite
from ..errors import AtomtuneError
from ..runtime.progress import Events
from ..sampling.apply import changes_of
from ..sampling.changes import LoadedAtoms

WHOLE = "--to checkpoint and --to diffusers write a whole model with it"


class TotalChange:
    """The change of a pipeline's weights, computed as it is asked for: all at once would be another model.

    Args:
        name: what it is for, in messages: "a LoRA".

    Raises AtomtuneError as `changes_of`, and where a part was trained in full.
    """

    def __init__(self, pipeline: Any, atoms: Sequence[LoadedAtoms], name: str, events: Events) -> None:
        self.pipeline = pipeline
        self._name = name
        self._summands: list[tuple[Mapping[str, Mapping[str, Tensor]], float]] = []
        for item in atoms:
            changes = changes_of(pipeline, item, events)
            if values := [name for found in changes.values() for name in found.values]:
                raise AtomtuneError(f"{name} cannot hold {values[0]}, which was trained in full", WHOLE)
            self._summands.append(({part: found.deltas for part, found in changes.items()}, item.scale))

    @torch.no_grad()
    def of(self, part: str, name: str) -> Tensor:
        """Σ scale·ΔW of a parameter, float32. Raises AtomtuneError where it is not finite."""
        found = [(changes[part][name], scale) for changes, scale in self._summands if name in changes.get(part, {})]
        total = torch.stack([change.float() * scale for change, scale in found]).sum(0)
        if not all_finite(total):
            raise AtomtuneError(f"the change of {part}.{name} is not finite", "use a lower scale")
        return total

    def weight(self, layer: tuple[str, str]) -> Tensor:
        """The weight of a layer as it is without the change."""
        weight: Tensor = getattr(self.pipeline, layer[0]).get_submodule(layer[1]).weight
        return weight.detach()

    def parameters(self) -> list[tuple[str, str]]:
        """Part and name of the parameters that may change."""
        return list(
            dict.fromkeys((part, name) for changes, _ in self._summands for part in changes for name in changes[part])
        )

    def layers(self) -> list[tuple[str, str]]:
        """Part and name of the layers whose weights may change.

        Raises AtomtuneError where anything else changes than the weights of linear layers and of convolutions without
        groups, which is all that files of LoRA's kind hold.
        """
        found, others = [], []
        for part, name in self.parameters():
            layer, _, kind = name.rpartition(".")
            if kind == "weight" and _is_adaptable(getattr(self.pipeline, part).get_submodule(layer)):
                found.append((part, layer))
            elif bool(self.of(part, name).any()):
                others.append(f"{part}.{name}")
        if others:
            more = f" and {len(others) - 1} more biases, norms or embeddings" if len(others) > 1 else ""
            raise AtomtuneError(f"{self._name} cannot hold the change of {others[0]}{more}", WHOLE)
        return found


def changed_layers(pipeline: Any, atoms: Sequence[LoadedAtoms], events: Events) -> list[tuple[str, str]]:
    """Part and name of the linear layers and convolutions whose weights change. Raises as `changes_of`."""
    found = []
    for item in atoms:
        for part, changes in changes_of(pipeline, item, events).items():
            for name in (*changes.deltas, *changes.values):
                layer, _, kind = name.rpartition(".")
                if kind == "weight" and _is_adaptable(getattr(pipeline, part).get_submodule(layer)):
                    found.append((part, layer))
    return list(dict.fromkeys(found))


def _is_adaptable(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
