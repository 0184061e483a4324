"""How changes and weights become merged weights: the one place where they are added."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..core.precision import all_finite
from ..errors import AtomtuneError, UsageError


@dataclass(frozen=True)
class PartChanges:
    """What a file says about one model.

    Attributes:
        deltas: ΔW by name of the parameter, in float32; may be computed as they are asked for.
        values: of parts that were trained in full, by name; no scale applies to them.
    """

    deltas: Mapping[str, Tensor]
    values: Mapping[str, Tensor] = field(default_factory=dict)


@torch.no_grad()
def merged_tensors(
    model: nn.Module, summands: Sequence[tuple[PartChanges, float]]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """The tensors of a model that change: name, tensor, and the value it is to have.

    That is W + Σ scale·ΔW, added in float32 and cast to the dtype of W, or the value of a part trained in full.

    Raises:
        UsageError: two of the summands have values for the same tensor, or a scale is no number of float32.
        AtomtuneError: a merged weight is not finite in the dtype of W, or is that of two modules.
    """
    own: Mapping[str, Tensor] = model.state_dict(keep_vars=True)
    names: dict[int, list[str]] = {}
    for key, tensor in own.items():
        names.setdefault(id(tensor), []).append(key)
    fixed: dict[str, Tensor] = {}
    for changes, _ in summands:
        if both := sorted(set(fixed) & set(changes.values)):
            raise UsageError(f"two files hold trained values of {both[0]}", "only one of them can be loaded")
        fixed |= changes.values
    for name, value in fixed.items():
        yield name, own[name], value.to(own[name].device, own[name].dtype)
    for _, scale in summands:
        if not abs(scale) <= torch.finfo(torch.float32).max:
            raise UsageError(f"a scale of {scale:g} is out of range", "1 is as trained, 0 the base model")
    active = [(changes.deltas, scale) for changes, scale in summands if scale != 0.0]
    for name in dict.fromkeys(name for deltas, _ in active for name in deltas if name not in fixed):
        if other := next((key for key in names[id(own[name])] if key != name), None):
            raise AtomtuneError(
                f"{name} is also {other}, which would change with it",
                f"leave that layer out: layers='all,!{name.rpartition('.')[0]}'",
            )
        weight = own[name].float()
        for deltas, scale in active:
            if name in deltas:
                weight = torch.add(weight, deltas[name].to(weight.device), alpha=scale)
        weight = weight.to(own[name].dtype)
        if not all_finite(weight):
            raise AtomtuneError(f"the adapted weight of {name} is not finite in {weight.dtype}", "use a lower scale")
        yield name, own[name], weight
