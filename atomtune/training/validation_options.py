"""The options of the held-out loss."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..runtime.option import option
from ..runtime.options import Options

ENOUGH = 6
"""Images of a concept from which on one is kept out by default."""


@dataclass(frozen=True, kw_only=True)
class ValidationOptions(Options, panel="Held-out loss"):
    """Images that are not trained on, and what their loss is for; see `validation`."""

    validate: int | None = option(
        None,
        "Images of each concept that are kept out of training, for a loss of images that are not learned.",
        at_least=0,
        metavar="K",
        shown_default=f"1 of {ENOUGH} and more, 0 of fewer",
        unrecorded=0,
    )
    validate_every: int = option(
        50,
        "Measure the held-out loss every N steps.",
        at_least=1,
        metavar="N",
        aliases=("validate_every_n_steps",),
    )
    stop_early: bool = option(
        False, "Stop when the held-out loss falls no longer; the result is as it was where that loss was lowest."
    )
    patience: int = option(
        5, "Measurements without a lower held-out loss after which --stop-early stops.", at_least=1, metavar="N"
    )

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        if self.stop_early and self.validate == 0:
            yield "stop_early", "needs images that are kept out, as with validate = 1"


def held_out_of(asked: int | None, images: int) -> int:
    """How many of a concept's images are kept out, where `asked` is what `--validate` says."""
    return int(images >= ENOUGH) if asked is None else asked
