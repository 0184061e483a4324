"""Options of publishing."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..models.options import ModelOptions
from ..runtime.option import option, same_as
from ..runtime.options import Options
from ..sampling.options import TunedModelOptions

PLACES = ("folder", "hub")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, kw_only=True)
class PublishOptions(Options, panel="What is published"):
    """A concept as others get it.

    Attributes:
        to: one of PLACES.
        repository: on the hub, ORGANISATION/NAME.
        licence: as the hub calls it; None for the base model's, where it is known.
        images: to show; None for the newest of the run's samples.
        lora: whether an exported LoRA goes with the atoms file, made with `model` on `device`.
        private: whether a new repository is for its owner alone.
    """

    to: str = option("folder", "Write a folder, or upload to the Hugging Face hub.", choices=PLACES)
    repository: str | None = option(None, "Repository on the hub.", metavar="ORG/NAME", aliases=("repo_id",))
    licence: str | None = option(
        None,
        "Licence, as the hub calls it.",
        shown_default="the base model's",
        metavar="NAME",
        aliases=("license",),
    )
    images: tuple[str, ...] = option(
        (),
        "Image to show, with its prompt in it or beside it.",
        name="image",
        shown_default="newest samples",
        metavar="FILE",
    )
    lora: bool = option(True, "Add the concept as a LoRA, for other programs.")
    private: bool = option(False, "Make a new repository private.")
    model: str | None = same_as(TunedModelOptions, "model")
    device: str | None = same_as(ModelOptions, "device", shown_default="cpu")

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        if self.to == "hub" and self.repository is None:
            yield "repository", "is needed for --to hub, as in --repository org/mug"
        if self.to == "folder" and (self.repository is not None or self.private):
            yield ("repository" if self.repository is not None else "private"), "is for --to hub"
        if self.repository is not None and not _REPOSITORY.fullmatch(self.repository):
            yield "repository", f"must be an organisation or user and a name, as in org/mug, not {self.repository!r}"
