"""Atoms files laid onto a loaded pipeline: checked, encoded, attached, merged."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ...adapt import attach, baked, detach, merge, set_scale
from ...core.fingerprint import fingerprint
from ...errors import AtomtuneError, excerpt
from ...files.atoms_file import AtomsInfo, load_atoms
from ...methods import METHODS
from ..concept import Concept
from ..conditioning import text_encoders
from ..events import Events
from ..models import architecture_of
from ..text_atoms import restore_encoder, split_parts


@dataclass(frozen=True)
class LoadedAtoms:
    """An atoms file in memory, with the strength it is to have."""

    path: Path
    scale: float
    info: AtomsInfo
    tensors: dict[str, Any]
    sha256: str

    @property
    def concept(self) -> Concept:
        """The concept it was trained on."""
        return Concept(self.info.concept, self.info.class_noun, self.info.token)


def read_atoms(files: Sequence[tuple[Path, float]]) -> list[LoadedAtoms]:
    """Read and check atoms files. Raises AtomtuneError for the first that does not pass, or for two of one token."""
    loaded = []
    for path, scale in files:
        tensors, info, sha256 = load_atoms(path)
        if info.method not in METHODS:
            raise AtomtuneError(f"{path} was tuned by the unknown method {excerpt(info.method)!r}", "update atomtune")
        loaded.append(LoadedAtoms(path, scale, info, tensors, sha256))
    return loaded


def merge_atoms(pipeline: Any, atoms: Sequence[LoadedAtoms], events: Events) -> None:
    """Merge atoms into the UNet of a pipeline, and its text encoders where they were tuned; changes add up.

    Another base of the same architecture is a warning. Raises AtomtuneError for another architecture, or where the
    merged weights are not finite; the pipeline is then as it was.
    """
    if not atoms:
        return
    modules = _attach(pipeline, atoms, events)
    try:
        merge(modules)  # all parts at once: either everything is merged or nothing
    except ValueError as problem:
        detach(modules)
        raise AtomtuneError(str(problem), "use a lower scale") from None


@contextmanager
def wearing(pipeline: Any, atoms: Sequence[LoadedAtoms], events: Events) -> Iterator[Any]:
    """Within the context a loaded pipeline draws with these atoms; then it is the base model again, bit for bit.

    Raises as `merge_atoms`.
    """
    if not atoms:
        yield pipeline
        return
    modules = _attach(pipeline, atoms, events)
    try:
        with baked(modules):
            yield pipeline
    finally:
        detach(modules)


def _attach(pipeline: Any, atoms: Sequence[LoadedAtoms], events: Events) -> nn.ModuleDict:
    """Attach atoms, each under a name of its own; returns the parts of the pipeline that can carry some."""
    unet = pipeline.unet
    base = fingerprint(unet)
    architecture = architecture_of(unet)
    encoders = text_encoders(pipeline)
    modules = {"unet": unet, **encoders}
    prepared: list[dict[str, Any]] = []
    for item in atoms:
        # the shapes of atoms alone do not tell: tiles of wider layers can have the same size
        if item.info.architecture != architecture:
            raise AtomtuneError(
                f"{item.path.name} is for the architecture {excerpt(item.info.architecture)}, the base model is "
                f"{architecture}",
                f"use {excerpt(item.info.base)}, or a base model of its architecture",
            )
        if item.info.base_fingerprint != base:
            events.warn(f"{item.path.name} was trained on {excerpt(item.info.base)}; this base has other weights")
        method = METHODS[item.info.method]
        # every file is restored against the untouched base, before any is attached
        spec, by_part = method.spec_from(item.info.spec), split_parts(item.tensors)
        if lacking := sorted(set(by_part) - set(modules)):
            raise AtomtuneError(
                f"{item.path.name} tunes a {lacking[0]}, which the base model lacks", "use its own base model"
            )
        restored = {"unet": method.restore(unet, spec, by_part.pop("unet"))}
        for part, tensors in by_part.items():
            restored[part] = restore_encoder(method, spec, encoders, part, tensors)
        prepared.append(restored)
    for i, (item, restored) in enumerate(zip(atoms, prepared, strict=True)):
        for part, deltas in restored.items():
            attach(modules[part], deltas, name=f"atoms-{i}")
            set_scale(modules[part], item.scale, name=f"atoms-{i}")
    return nn.ModuleDict(modules)
