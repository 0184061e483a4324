"""Options of `atomtune serve`."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from ..models.options import ModelOptions
from ..runtime.option import option, same_as
from ..sampling.options import RUNS, SampleOptions

GB = 10**9


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine alone. A name other than localhost does not count as such."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class ServeOptions(ModelOptions):
    """A server of images.

    Attributes:
        runs: holds the concepts, each as NAME/NAME.safetensors or NAME.safetensors; read anew at each request.
        token_file: has the access tokens, one a line; those of the environment variable count too.
        cache: bytes of adapted weights to keep, in GB.
        timeout: of a request, in seconds, from its arrival to its image.
        batch_size: images of the same concepts and settings that are generated at once.
    """

    runs: Path = option(RUNS, "Folder of the concepts: NAME/NAME.safetensors or NAME.safetensors.", metavar="DIR")
    scheduler: str | None = same_as(SampleOptions, "scheduler")
    host: str = option("127.0.0.1", "Address to listen on.", metavar="HOST", panel="Server")
    port: int = option(8000, "Port; 0 for any free one.", at_least=0, at_most=65535, metavar="N", panel="Server")
    token_file: Path | None = option(
        None,
        "File of access tokens, one a line; needed where the address is not this machine's alone.",
        shown_default="$ATOMTUNE_TOKEN",
        metavar="FILE",
        panel="Server",
    )
    queue: int = option(64, "Requests that may wait; others are refused.", at_least=1, metavar="N", panel="Limits")
    timeout: float = option(
        120.0, "Seconds that a request may take, waiting included.", above=0, metavar="X", panel="Limits"
    )
    cache: float = option(
        2.0, "Adapted weights to keep in memory, in GB; 0 keeps none.", at_least=0, metavar="GB", panel="Limits"
    )
    batch_size: int = option(
        1,
        "Images of the same concepts that are generated at once; above 1 images may differ in rounding.",
        at_least=1,
        metavar="N",
        panel="Limits",
    )
    max_steps: int = option(100, "Denoising steps that a request may ask for.", at_least=1, metavar="N", panel="Limits")
    max_side: int = option(
        1024, "Side of an image in pixels that a request may ask for.", at_least=8, metavar="N", panel="Limits"
    )
    max_concepts: int = option(4, "Concepts in one image.", at_least=0, metavar="N", panel="Limits")

    @property
    def cache_bytes(self) -> int:
        """The bound of the cache in bytes."""
        return int(self.cache * GB)

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        if not self.host.strip():
            yield "host", "must not be empty; 0.0.0.0 is every address of this machine"
