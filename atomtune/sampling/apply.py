"""Atoms files on a loaded pipeline: checked, turned into weight deltas, merged for good or for a context."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from ..methods.merging import PartChanges, merged_tensors
from ..runtime.malloc import keep_freed_memory
from ..runtime.progress import Events
from .changes import LoadedAtoms, Target, part_changes

Summands = Sequence[tuple[Mapping[str, PartChanges], float]]
"""Changes by part of the pipeline, each with its scale."""


def merge_atoms(pipeline: Any, atoms: Sequence[LoadedAtoms], events: Events) -> None:
    """Write atoms into the UNet of a pipeline, and its text encoders where they were tuned; changes add up.

    In place, one weight after the other, so that it takes little memory. Another base of the same architecture is a
    warning. Raises AtomtuneError for another architecture; and where a merged weight is not finite: the pipeline is
    then to be loaded again.
    """
    keep_freed_memory()
    with torch.no_grad():
        for _, _, tensor, value in merged_values(pipeline, atoms, events):
            tensor.copy_(value)


def merged_values(
    pipeline: Any, atoms: Sequence[LoadedAtoms], events: Events
) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """Part, name, tensor and the value it is to have, of every tensor that atoms change. Raises as `merge_atoms`.

    `pipeline` may be a `Target`, which takes the fingerprint of its models once.
    """
    whole = pipeline.pipeline if isinstance(pipeline, Target) else pipeline
    return _merged(whole, [(changes_of(pipeline, item, events), item.scale) for item in atoms])


@contextmanager
def applied(pipeline: Any, atoms: Sequence[LoadedAtoms], events: Events) -> Iterator[Any]:
    """A context within which a loaded pipeline generates with these atoms; then it is the base model, bit for bit.

    It takes the memory of another copy of the weights that change. Raises as `merge_atoms`.
    """
    with replaced(pipeline, [(changes_of(pipeline, item, events), item.scale) for item in atoms]):
        yield pipeline


@contextmanager
def applied_at(
    pipeline: Any, atoms: LoadedAtoms, events: Events
) -> Iterator[Callable[[float], AbstractContextManager[Any]]]:
    """A context within which a loaded pipeline can have these atoms at one scale after the other.

    Gives `at`: `at(scale)` is the context of `applied` at this scale. The weight deltas, which take longest, are
    computed once for all scales. Raises as `merge_atoms`.
    """
    changes = {
        part: PartChanges(dict(found.deltas), found.values)
        for part, found in changes_of(pipeline, atoms, events).items()
    }
    yield lambda scale: replaced(pipeline, [(changes, scale)])


def changes_of(pipeline: Any, item: LoadedAtoms, events: Events) -> dict[str, PartChanges]:
    """What an atoms file changes of a pipeline, or a `Target`, by part. Raises AtomtuneError where it does not fit."""
    target = pipeline if isinstance(pipeline, Target) else Target(pipeline)
    return {part: changes(target.parts[part]) for part, changes in part_changes(target, item, events).items()}


@contextmanager
def replaced(pipeline: Any, summands: Summands) -> Iterator[Any]:
    """A context within which a pipeline has these changes; then it is the base model, bit for bit."""
    with holding([(tensor, value) for _, _, tensor, value in _merged(pipeline, summands)]):
        yield pipeline


@contextmanager
def holding(merged: Sequence[tuple[Tensor, Tensor]]) -> Iterator[None]:
    """A context within which tensors of a model have the values that are given beside them, without a copy."""
    own = [tensor.data for tensor, _ in merged]
    try:
        for tensor, value in merged:
            tensor.data = value
        yield
    finally:
        for (tensor, _), value in zip(merged, own, strict=True):
            tensor.data = value


def _merged(pipeline: Any, summands: Summands) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    for part in dict.fromkeys(part for changes, _ in summands for part in changes):
        own = [(changes[part], scale) for changes, scale in summands if part in changes]
        for name, tensor, value in merged_tensors(getattr(pipeline, part), own):
            yield part, name, tensor, value
