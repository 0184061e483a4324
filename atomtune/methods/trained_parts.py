"""Parts of a model that are trained in full beside a method, as a classifier's new head is.

A file holds their values, not changes of them: what such a part was before it was trained is often random.
"""

import fnmatch
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ..core.precision import all_finite
from ..errors import AtomtuneError, UsageError, excerpt

PREFIX = "trained:"
"""Begins the name of such a tensor in a file; no module's name holds a colon that early."""


def find_parts(model: nn.Module, patterns: Iterable[str]) -> dict[str, nn.Module]:
    """The modules that shell patterns name, with those inside of them left to the outer one.

    Raises UsageError where a pattern matches no module that has parameters.
    """
    found: dict[str, nn.Module] = {}
    candidates = {
        name: module for name, module in model.named_modules() if name and any(True for _ in module.parameters())
    }
    for pattern in patterns:
        matching = {name: module for name, module in candidates.items() if fnmatch.fnmatchcase(name, pattern)}
        if not matching:
            raise UsageError(
                f"no part of the model with parameters matches {excerpt(repr(pattern))}",
                f"parts are {', '.join(name for name in candidates if '.' not in name)} and those inside of them",
            )
        found |= matching
    return {name: module for name, module in found.items() if not any(name.startswith(f"{outer}.") for outer in found)}


class TrainedParts:
    """Parts that are trained in full until `restore`.

    Args:
        parts: modules of one model, by dotted name, none inside another. Their parameters require gradients now.
    """

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        self.names = list(parts)
        self.parameters: dict[str, nn.Parameter] = {}
        self._tensors: dict[str, Tensor] = {}
        for path, module in parts.items():
            # of a module's tensors those that its state dict has: buffers that are not kept are made anew
            self._tensors |= {f"{path}.{name}": tensor for name, tensor in module.state_dict(keep_vars=True).items()}
            self.parameters |= {f"{path}.{name}": parameter for name, parameter in module.named_parameters()}
        self._start = {name: tensor.detach().clone() for name, tensor in self._tensors.items()}
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)

    def export(self) -> dict[str, Tensor]:
        """The tensors of the file, in their own dtype. Raises AtomtuneError where one is not finite."""
        values = {name: tensor.detach().cpu().clone() for name, tensor in self._tensors.items()}
        for name, value in values.items():
            if value.is_floating_point() and not all_finite(value):
                raise AtomtuneError(f"{name} is not finite", "training diverged: use a lower learning rate")
        return {PREFIX + name: value for name, value in values.items()}

    @torch.no_grad()
    def restore(self) -> None:
        """Give the parts the values they had."""
        for name, tensor in self._tensors.items():
            tensor.copy_(self._start[name])


def split_trained(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A file's tensors: those of the method, and the values of parts trained in full by the names they have there."""
    own = {key: tensor for key, tensor in tensors.items() if not key.startswith(PREFIX)}
    parts = {key.removeprefix(PREFIX): tensor for key, tensor in tensors.items() if key.startswith(PREFIX)}
    return own, parts


def check_parts(model: nn.Module, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a model that have these names. Raises AtomtuneError where one is missing or of another shape."""
    own: dict[str, Tensor] = model.state_dict(keep_vars=True)
    for name, value in values.items():
        if name not in own:
            raise AtomtuneError(f"the file holds {excerpt(name)}, which the model lacks", "use its own base model")
        if own[name].shape != value.shape:
            raise AtomtuneError(
                f"{name} has shape {tuple(value.shape)} in the file, and {tuple(own[name].shape)} in the model",
                "give the model a part of that shape first, as in model.fc = nn.Linear(512, 10)",
            )
    return {name: own[name] for name in values}
