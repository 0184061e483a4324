"""Options of captions by a model."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..data.concept import Concept
from ..errors import UsageError
from ..models.options import ModelOptions
from ..runtime.option import option, same_as
from ..runtime.options import Options

POCKET = "pocket"

MODELS = {
    "florence-2": "florence-community/Florence-2-base",
    "blip": "Salesforce/blip-image-captioning-base",
    "blip-2": "Salesforce/blip2-opt-2.7b",
    "qwen-vl": "Qwen/Qwen2.5-VL-3B-Instruct",
}
"""Models of transformers that describe images, by short names."""


@dataclass(frozen=True, kw_only=True)
class CaptionOptions(Options, panel="Captions"):
    """Whose images get captions, and what writes them.

    Attributes:
        model: a name in `MODELS`, the hub id or the folder of another model of this kind, or `POCKET`.
    """

    concept: str = option(..., "Name of the concept; NAME=NOUN says its class noun too.", metavar="NAME", word="first")
    class_noun: str | None = option(
        None, "What the model calls the concept; {} takes its place.", shown_default="NAME", metavar="NOUN"
    )
    images: Path | None = option(None, "Folder of its images.", shown_default="concepts/NAME", metavar="DIR")
    model: str = option(
        "florence-2",
        f"What describes the images: {', '.join(MODELS)}, pocket's grader as {POCKET}, or another model of "
        "transformers that does, as a hub id or a folder.",
        name="with",
        metavar="MODEL",
    )
    question: str | None = option(
        None, "What the model is told or asked, where it takes a text.", name="ask", metavar="TEXT"
    )
    max_tokens: int = option(60, "Longest caption, in tokens of the model.", at_least=1, at_most=1000, metavar="N")
    device: str | None = same_as(ModelOptions, "device", panel=None)
    precision: str = same_as(ModelOptions, "precision", panel=None)

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        try:
            _ = self.of
        except UsageError as problem:
            yield "concept", problem.message
        if self.question is not None and self.model in (POCKET, "blip"):
            yield "ask", f"is for models that take a text, and {self.model} takes none"

    @property
    def of(self) -> Concept:
        """The concept. Raises UsageError as `Concept`."""
        return Concept(self.concept) if self.class_noun is None else Concept(self.concept, self.class_noun)

    @property
    def folder(self) -> Path:
        """The folder of its images."""
        return self.images or Path("concepts") / self.of.name
