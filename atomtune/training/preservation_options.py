"""The options of preservation, see `preservation`; a group of `TrainOptions`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..runtime.option import option
from ..runtime.options import Options


@dataclass(frozen=True, kw_only=True)
class PreservationOptions(Options, panel="Preservation"):
    """The base model's predictions for prompts that do not name the concept; see `preservation`.

    Attributes:
        preserve: weight of the loss; 0 is a run without preservation.
        preserve_rows: None for half as many as `batch_size`, at least one.
        preserve_prompts: None for the prompts of `preservation_prompts.default_prompts`.
    """

    preserve: float = option(
        0.0,
        "Weight of preservation: what the base model predicts for prompts that do not name the concept is kept; "
        "0 for none.",
        at_least=0,
        metavar="X",
    )
    preserve_rows: int | None = option(
        None,
        "Extra rows of each batch for it.",
        at_least=1,
        shown_default="half of --batch-size, at least 1",
        metavar="N",
    )
    preserve_every: int = option(1, "Take the extra rows on every N-th step only.", at_least=1, metavar="N")
    preserve_prompts: Path | None = option(
        None,
        'File of prompts, one a line, "" for the empty prompt, {} for the class noun.',
        shown_default="nouns and scenes of atomtune",
        metavar="FILE",
    )
    preserve_class_noun: bool = option(False, "Preserve the class noun too, in a quarter of the prompts with a noun.")

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        unused = ("preserve_rows", "preserve_prompts", "preserve_class_noun")
        for name in unused if not self.preserve else ():
            if getattr(self, name):
                yield name, "needs preserve, as in --preserve 1"
        if self.preserve_every > 1 and not self.preserve:
            yield "preserve_every", "needs preserve, as in --preserve 1"
        if self.preserve_prompts is not None and self.preserve_class_noun:
            yield "preserve_class_noun", "is for the prompts of atomtune: a file names what it preserves"
