"""What the writers of all forms are given, and what they give back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..core.precision import DTYPES
from ..methods.merging import PartChanges
from ..models.base_model import ModelSource
from ..runtime.progress import Events
from ..sampling.apply import applied, replaced
from ..sampling.changes import LoadedAtoms
from .image_difference import images_of, measured_prompts, psnr
from .options import ExportOptions
from .result import Quality


@dataclass
class Job:
    """One export.

    Attributes:
        pipeline: the base model, on the device; base_fingerprint: of its UNet.
        loaded: the atoms.
        output: the file that is written.
    """

    pipeline: Any
    source: ModelSource
    base_fingerprint: str
    loaded: Sequence[LoadedAtoms]
    output: Path
    options: ExportOptions
    device: torch.device
    events: Events
    _reference: list[Image.Image] = field(default_factory=list)
    _preview: list[Image.Image] = field(default_factory=list)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the numbers in the file."""
        return DTYPES[self.options.precision]

    @property
    def triggers(self) -> list[str]:
        """The words of each concept."""
        return list(dict.fromkeys(words for item in self.loaded for words in item.info.triggers))

    @property
    def captions(self) -> list[str]:
        """What the concepts were trained with, and their words where they have no captions."""
        found = [prompt for item in self.loaded for prompt in item.info.prompts]
        return found or [f"a photo of a {trigger}" for trigger in self.triggers]

    def reference(self) -> list[Image.Image]:
        """The images of the atoms themselves, generated once."""
        if not self._reference:
            self.events.phase("generating with the atoms")
            with applied(self.pipeline, self.loaded, self.events):
                self._reference = images_of(self.pipeline, measured_prompts(self.triggers), self.events)
        return self._reference

    def preview(self) -> Image.Image | None:
        """An image to show: the first of the reference; None where none is wanted."""
        if not self.options.preview:
            return None
        if not self._preview and not self._reference:
            self.events.phase("generating an image to show")
            with applied(self.pipeline, self.loaded, self.events):
                self._preview = images_of(self.pipeline, measured_prompts(self.triggers)[:1], self.events)
        return (self._reference or self._preview)[0]

    def psnr_of(self, pipeline: Any) -> float:
        """PSNR in dB of a pipeline's images against those of the atoms."""
        return psnr(images_of(pipeline, measured_prompts(self.triggers), self.events), self.reference())


@dataclass(frozen=True)
class Written:
    """What a writer gives back.

    Attributes:
        sha256: the checksum of the tensors; empty for a folder.
        rank: the largest of a LoRA's layers.
        broken: what is worse than promised, and a hint; None where all is well.
    """

    quality: Quality
    sha256: str = ""
    rank: int | None = None
    broken: tuple[str, str] | None = None


class Deltas(Mapping[str, Tensor]):
    """ΔW by the name of a parameter, each made when it is asked for."""

    def __init__(self, names: Sequence[str], make: Callable[[str], Tensor]) -> None:
        self._names = dict.fromkeys(names)
        self._make = make

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@contextmanager
def with_changes(
    pipeline: Any, layers: Sequence[tuple[str, str]], change: Callable[[tuple[str, str]], Tensor]
) -> Iterator[Any]:
    """A context within which the weights of these layers have these changes."""
    parts: dict[str, PartChanges] = {}
    for part in dict.fromkeys(part for part, _ in layers):
        names = [f"{name}.weight" for own, name in layers if own == part]
        parts[part] = PartChanges(Deltas(names, partial(_change_of, change, part)))
    with replaced(pipeline, [(parts, 1.0)]):
        yield pipeline


def _change_of(change: Callable[[tuple[str, str]], Tensor], part: str, key: str) -> Tensor:
    return change((part, key.removesuffix(".weight")))
