"""Atoms files laid onto a loaded pipeline: checked, encoded, attached, merged."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...adapt import attach, merge, set_scale
from ...core.fingerprint import fingerprint
from ...errors import AtomtuneError
from ...files.atoms_file import AtomsInfo, load_atoms
from ...methods import METHODS
from ..concept import Concept
from ..events import Events
from ..models import architecture_of


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
            raise AtomtuneError(f"{path} was tuned by the unknown method {info.method!r}", "update atomtune")
        loaded.append(LoadedAtoms(path, scale, info, tensors, sha256))
    return loaded


def merge_atoms(pipeline: Any, atoms: Sequence[LoadedAtoms], events: Events) -> None:
    """Merge atoms into the UNet of a pipeline; their changes add up.

    Another base of the same architecture is a warning. Raises AtomtuneError for another architecture, or where the
    merged weights are not finite; the pipeline is then as it was.
    """
    if not atoms:
        return
    unet = pipeline.unet
    base = fingerprint(unet)
    architecture = architecture_of(unet)
    prepared = []
    for item in atoms:
        # the shapes of atoms alone do not tell: tiles of wider layers can have the same size
        if item.info.architecture != architecture:
            raise AtomtuneError(
                f"{item.path.name} is for the architecture {item.info.architecture}, the base model is {architecture}",
                f"use {item.info.base}, or a base model of its architecture",
            )
        if item.info.base_fingerprint != base:
            events.warn(f"{item.path.name} was trained on {item.info.base}; this base has other weights")
        method = METHODS[item.info.method]
        # every file is restored against the untouched base, before any is attached
        prepared.append(method.restore(unet, method.spec_from(item.info.spec), item.tensors))
    for i, (item, deltas) in enumerate(zip(atoms, prepared, strict=True)):
        attach(unet, deltas, name=f"atoms-{i}")
        set_scale(unet, item.scale, name=f"atoms-{i}")
    try:
        merge(unet)
    except ValueError as problem:
        raise AtomtuneError(str(problem), "use a lower scale") from None
