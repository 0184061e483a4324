"""What atoms change, layer by layer, in the factors of a LoRA."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core.low_rank import low_rank
from ..core.precision import all_finite
from ..errors import AtomtuneError
from ..runtime.progress import Events
from ..sampling.apply import changes_of
from ..sampling.changes import LoadedAtoms


@dataclass(frozen=True)
class Factors:
    """One layer's part of the file.

    Attributes:
        part, layer: component of the pipeline, and dotted name in it.
        up, down: as the file has them: (c_out, r) and (r, c_in) of a linear layer, (c_out, r, 1, 1) and (r, c_in, k, k)
            of a convolution.
        size, lost: squares of ‖ΔW‖, which is not 0, and of ‖ΔW − BA‖.
    """

    part: str
    layer: str
    up: Tensor
    down: Tensor
    size: float
    lost: float

    @property
    def error(self) -> float:
        """The relative error of this layer."""
        return math.sqrt(self.lost / self.size)


class Total:
    """What several atoms files change together, one parameter at a time: all at once would be another model.

    Raises AtomtuneError as `changes_of`.
    """

    def __init__(self, pipeline: Any, atoms: Sequence[LoadedAtoms], events: Events) -> None:
        self._pipeline = pipeline
        self._summands: list[tuple[Mapping[str, Mapping[str, Tensor]], float]] = []
        for item in atoms:
            changes = changes_of(pipeline, item, events)
            if values := [name for found in changes.values() for name in found.values]:
                raise AtomtuneError(
                    f"a LoRA cannot hold {values[0]}, which was trained in full",
                    "atomtune merge writes a whole model with it",
                )
            self._summands.append(({part: found.deltas for part, found in changes.items()}, item.scale))

    @torch.no_grad()
    def change(self, part: str, name: str) -> Tensor:
        """Σ scale·ΔW of a parameter, float32. Raises AtomtuneError where it is not finite."""
        found = [(changes[part][name], scale) for changes, scale in self._summands if name in changes.get(part, {})]
        total = torch.stack([change.float() * scale for change, scale in found]).sum(0)
        if not all_finite(total):
            raise AtomtuneError(f"the change of {part}.{name} is not finite", "use a lower scale")
        return total

    def layers(self) -> list[tuple[str, str]]:
        """Part and name of the layers whose weights may change.

        Raises AtomtuneError where something changes that no LoRA can hold: anything but the weights of linear layers
        and of convolutions without groups.
        """
        names = dict.fromkeys(
            (part, name) for changes, _ in self._summands for part in changes for name in changes[part]
        )
        found, others = [], []
        for part, name in names:
            layer, _, kind = name.rpartition(".")
            if kind == "weight" and _takes_lora(getattr(self._pipeline, part).get_submodule(layer)):
                found.append((part, layer))
            elif bool(self.change(part, name).any()):
                others.append(f"{part}.{name}")
        if others:
            more = f" and {len(others) - 1} more biases, norms or embeddings" if len(others) > 1 else ""
            raise AtomtuneError(
                f"a LoRA cannot hold the change of {others[0]}{more}", "atomtune merge writes a whole model with it"
            )
        return found


def _takes_lora(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)


@torch.no_grad()
def factors_of(
    part: str, layer: str, change: Tensor, rank: int, dtype: torch.dtype, device: torch.device
) -> Factors | None:
    """The factors of ΔW, a weight's change, in this type; None where nothing changes.

    They are computed on the device and stay on the CPU. Raises AtomtuneError where one is not finite in this type.
    """
    matrix = change.flatten(1).to(device)
    size = _square(matrix)
    if size == 0:
        return None
    up, down = (factor.to(dtype) for factor in low_rank(matrix, rank))
    if not (all_finite(up) and all_finite(down)):
        raise AtomtuneError(
            f"the factors of {part}.{layer} are not finite in {dtype}", "use --precision fp32, or a lower scale"
        )
    lost = _square(torch.addmm(matrix, up.float(), down.float(), alpha=-1))
    if change.dim() == 4:
        up, down = up[:, :, None, None], down.view(-1, *change.shape[1:])
    return Factors(part, layer, up.cpu(), down.cpu(), size, lost)


def _square(matrix: Tensor) -> float:
    return float(torch.linalg.vector_norm(matrix.cpu(), dtype=torch.float64)) ** 2
