"""A base model for one training after the other: loaded, hashed and decomposed once."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..core.decompose import Decomposition
from ..core.fingerprint import fingerprint
from ..methods.specs import AtomsSpec
from ..models.base_model import ModelSource, load_pipeline
from ..models.conditioning import text_encoders
from ..models.decomposition import DecompositionReport, load_or_decompose


@dataclass(frozen=True)
class Base:
    """A base model to train on.

    Attributes:
        pipeline: the caller's own; fingerprint: of its UNet; components: of its other parts.
    """

    pipeline: Any
    fingerprint: str
    components: Mapping[str, str]


class LoadedBase:
    """Gives each training a base model in the state of one that was just loaded.

    Args:
        keep: hold the model, which takes the memory of another copy of it, for further trainings.
    """

    def __init__(self, keep: bool = True) -> None:
        self._keep = keep
        self._held: tuple[ModelSource, Base] | None = None
        self._decompositions: dict[Any, tuple[dict[str, Decomposition], DecompositionReport]] = {}

    def load(self, source: ModelSource) -> Base:
        """The model, or a copy of the one that is held. Raises as `load_pipeline`."""
        if self._held is not None and self._held[0] == source:
            held = self._held[1]
            return Base(copy.deepcopy(held.pipeline), held.fingerprint, held.components)
        self._held = None
        self._decompositions.clear()
        pipeline = load_pipeline(source)
        others = {"vae": pipeline.vae, **text_encoders(pipeline)}
        base = Base(pipeline, fingerprint(pipeline.unet), {name: fingerprint(part) for name, part in others.items()})
        if self._keep:
            self._held = source, Base(copy.deepcopy(pipeline), base.fingerprint, base.components)
        return base

    def decompose(
        self, part: nn.Module, source: ModelSource, spec: AtomsSpec, **options: Any
    ) -> tuple[dict[str, Decomposition], DecompositionReport]:
        """As `load_or_decompose`, for parts that are as they were loaded."""
        if not self._keep:
            return load_or_decompose(part, source, spec, **options)
        facts = {name: options.get(name) for name in ("base_fingerprint", "algorithm", "digest")}
        key = (type(part), spec, *facts.values())
        if facts["base_fingerprint"] is None or key not in self._decompositions:
            found = load_or_decompose(part, source, spec, **options)
            if facts["base_fingerprint"] is None:  # which of the text encoders this is nobody says
                return found
            self._decompositions[key] = found
        decomposition, report = self._decompositions[key]
        return copy.deepcopy(decomposition), report
