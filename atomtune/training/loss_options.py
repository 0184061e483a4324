"""The options of the loss."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import excerpt
from ..runtime.option import option
from ..runtime.options import Options

TIMESTEPS = ("uniform", "logit-normal")


def timestep_range(text: str) -> tuple[int, int] | None:
    """The first and the last timestep of a range as "200-800"; None for anything else."""
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and len(text) < 20):
        return None
    return (int(first), int(last)) if int(first) <= int(last) else None


@dataclass(frozen=True, kw_only=True)
class LossOptions(Options, panel="Loss"):
    """What is minimised; see `loss`."""

    min_snr_gamma: float | None = option(
        None,
        "Weight timesteps by min-SNR with this gamma; 5 is usual.",
        above=0,
        metavar="X",
        aliases=("snr_gamma",),
    )
    noise_offset: float = option(
        0.0, "Noise offset: noise that is constant over a channel, for dark and bright images.", at_least=0, metavar="X"
    )
    timesteps: str = option(
        "uniform",
        "Which timesteps are trained: uniform, logit-normal (more of the middle ones), or a range, as 200-800.",
        metavar="WHICH",
        aliases=("timestep_sampling", "weighting_scheme"),
    )

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        if self.timesteps not in TIMESTEPS and timestep_range(self.timesteps) is None:
            yield "timesteps", f"must be {', '.join(TIMESTEPS)}, or a range as 200-800, not {excerpt(self.timesteps)}"
