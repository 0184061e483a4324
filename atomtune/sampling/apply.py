"""Atoms files on a loaded pipeline: checked, turned into weight deltas, merged for good or for a context."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ..core.fingerprint import fingerprint
from ..core.precision import all_finite
from ..data.concept import Concept
from ..errors import AtomtuneError, UsageError, excerpt
from ..files.atoms_file import AtomsInfo, load_atoms
from ..methods import METHODS
from ..methods.textual_inversion import TOKEN_CHANGE
from ..models.architecture import architecture_of
from ..models.components import encoder_changes, name_in_file, split_parts, token_id
from ..models.conditioning import text_encoders, tokenizer_of
from ..runtime.malloc import keep_freed_memory
from ..runtime.progress import Events

Changes: TypeAlias = Mapping[str, Mapping[str, Tensor]]
"""ΔW in float32, by part of the pipeline and name of the parameter."""


@dataclass(frozen=True)
class LoadedAtoms:
    """An atoms file in memory, with the scale it is to have."""

    path: Path
    scale: float
    info: AtomsInfo
    tensors: dict[str, Any]
    sha256: str

    @property
    def concept(self) -> Concept:
        """The concept it was trained on."""
        return Concept(self.info.concept, self.info.class_noun, self.info.token)


def read_atoms(files: Sequence[tuple[Path, float]], events: Events | None = None) -> list[LoadedAtoms]:
    """Read atoms files that are to be used together, each with its scale.

    Several trainings of one concept (its name, token and class noun are the same) add up, with a warning.

    Raises AtomtuneError as `read_atoms_file`, and UsageError for two that no prompt tells apart: the same atoms twice,
    and different concepts of one name, or of one token and class noun.
    """
    loaded = [read_atoms_file(path, scale) for path, scale in files]
    for number, item in enumerate(loaded):
        for other in loaded[:number]:
            if warning := _clash(other, item):
                (events or Events()).warn(warning)
    return loaded


def read_atoms_file(path: Path, scale: float = 1.0) -> LoadedAtoms:
    """Read and check one atoms file. Raises AtomtuneError where it is not there, damaged, or of an unknown method."""
    tensors, info, sha256 = load_atoms(path)
    if info.method not in METHODS:
        raise AtomtuneError(f"{path} was tuned by the unknown method {excerpt(info.method)!r}", "update atomtune")
    return LoadedAtoms(path, scale, info, tensors, sha256)


def _clash(one: LoadedAtoms, other: LoadedAtoms) -> str | None:
    """A warning where two files are of one concept. Raises UsageError as `read_atoms`."""
    both = f"{one.path} and {other.path}"
    if one.sha256 == other.sha256:
        raise UsageError(f"{both} hold the same atoms", "give them once; FILE:SCALE makes them stronger")
    same_words = one.concept.words.lower().split() == other.concept.words.lower().split()
    if one.concept.name == other.concept.name:
        if same_words:
            return f"{both} are of one concept, {excerpt(one.concept.words)!r}: their changes add up in every image"
        raise UsageError(
            f"{both} are different concepts that are both called <{excerpt(one.concept.name)}>",
            "train one of them under another --concept",
        )
    if same_words:
        raise UsageError(
            f"{both} are different concepts that are both {excerpt(one.concept.words)!r} in prompts",
            "train one of them with another --token",
        )
    return None


def merge_atoms(pipeline: Any, atoms: Sequence[LoadedAtoms], events: Events) -> None:
    """Write atoms into the UNet of a pipeline, and its text encoders where they were tuned; changes add up.

    In place, one weight after the other, so that it takes little memory. Another base of the same architecture is a
    warning. Raises AtomtuneError for another architecture; and where a merged weight is not finite: the pipeline is
    then to be loaded again.
    """
    keep_freed_memory()
    with torch.no_grad():
        for parameter, weight in _merged(
            pipeline, [(changes_of(pipeline, item, events), item.scale) for item in atoms]
        ):
            parameter.copy_(weight)


@contextmanager
def applied(pipeline: Any, atoms: Sequence[LoadedAtoms], events: Events) -> Iterator[Any]:
    """A context within which a loaded pipeline generates with these atoms; then it is the base model, bit for bit.

    It takes the memory of another copy of the weights that change. Raises as `merge_atoms`.
    """
    with _replaced(pipeline, [(changes_of(pipeline, item, events), item.scale) for item in atoms]):
        yield pipeline


@contextmanager
def applied_at(
    pipeline: Any, atoms: LoadedAtoms, events: Events
) -> Iterator[Callable[[float], AbstractContextManager[Any]]]:
    """A context within which a loaded pipeline can have these atoms at one scale after the other.

    Gives `at`: `at(scale)` is the context of `applied` at this scale. The weight deltas, which take longest, are
    computed once for all scales. Raises as `merge_atoms`.
    """
    changes = {part: dict(found) for part, found in changes_of(pipeline, atoms, events).items()}
    yield lambda scale: _replaced(pipeline, [(changes, scale)])


def changes_of(pipeline: Any, item: LoadedAtoms, events: Events) -> Changes:
    """What an atoms file adds to the base model at scale 1. Raises AtomtuneError where they do not fit."""
    unet = pipeline.unet
    architecture = architecture_of(unet)
    # the shapes of atoms alone do not decide: tiles of wider layers can have the same size
    if item.info.architecture != architecture:
        raise AtomtuneError(
            f"{item.path.name} is for the architecture {excerpt(item.info.architecture)}, the base model is "
            f"{architecture}",
            f"use {excerpt(item.info.base)}, or a base model of its architecture",
        )
    if item.info.base_fingerprint != fingerprint(unet):
        events.warn(f"{item.path.name} was trained on {excerpt(item.info.base)}; this base has other weights")
    encoders = text_encoders(pipeline)
    method = METHODS[item.info.method]
    spec, by_part = method.spec.from_dict(item.info.spec), split_parts(item.tensors)
    if lacking := sorted(set(by_part) - {"unet", *encoders}):
        raise AtomtuneError(
            f"{item.path.name} tunes a {lacking[0]}, which the base model lacks", "use its own base model"
        )
    changes: dict[str, Mapping[str, Tensor]] = {"unet": method.changes(unet, spec, by_part.pop("unet"))}
    for part, tensors in by_part.items():
        token = None
        if name_in_file(part, TOKEN_CHANGE) in tensors:
            token = token_id(tokenizer_of(pipeline, part), item.info.token)
        changes[part] = encoder_changes(method, spec, encoders, part, tensors, token)
    return changes


@contextmanager
def _replaced(pipeline: Any, summands: Sequence[tuple[Changes, float]]) -> Iterator[Any]:
    weights = list(_merged(pipeline, summands))
    own = [parameter.data for parameter, _ in weights]
    try:
        for parameter, weight in weights:
            parameter.data = weight
        yield pipeline
    finally:
        for (parameter, _), weight in zip(weights, own, strict=True):
            parameter.data = weight


@torch.no_grad()
def _merged(pipeline: Any, summands: Sequence[tuple[Changes, float]]) -> Iterator[tuple[nn.Parameter, Tensor]]:
    """The parameters that change, each with W + Σ scale·ΔW, added in float32 and cast to the dtype of W.

    Raises AtomtuneError where one is not finite.
    """
    for part in dict.fromkeys(part for changes, _ in summands for part in changes):
        parameters = dict(getattr(pipeline, part).named_parameters())
        own = [(changes[part], scale) for changes, scale in summands if part in changes and scale != 0.0]
        for name in dict.fromkeys(name for changes, _ in own for name in changes):
            parameter = parameters[name]
            weight = parameter.float()
            for changes, scale in own:
                if name in changes:
                    weight = torch.add(weight, changes[name].to(weight.device), alpha=scale)
            weight = weight.to(parameter.dtype)
            if not all_finite(weight):
                raise AtomtuneError(
                    f"the adapted weight of {name} is not finite in {parameter.dtype}", "use a lower scale"
                )
            yield parameter, weight
