"""Options of the page."""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from ..models.options import ModelOptions
from ..runtime.option import option, same_as
from ..runtime.options import Options

_FEWEST_CHARACTERS = 8


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class UiOptions(Options, panel="Page"):
    """Where the page is served, and to whom.

    Attributes:
        model: base model that the forms begin with; None for the default.
        auth: user and password as USER:PASSWORD; token: a secret that the page's address carries once.
    """

    model: str | None = same_as(ModelOptions, "model", panel="Model")
    host: str = option("127.0.0.1", "Address to listen on; another than this machine's needs --auth or --token.")
    port: int = option(7860, "Port; 0 takes a free one.", at_least=0, at_most=65535, metavar="N")
    auth: str | None = option(None, "User and password that the page asks for.", metavar="USER:PASSWORD")
    token: str | None = option(
        None, "Secret that the page's address must carry, as in http://host:7860/?token=…", metavar="TEXT"
    )

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        if not self.host.strip():
            yield "host", "must be a name or an address, as in 127.0.0.1"
        user, colon, password = (self.auth or "").partition(":")
        if self.auth is not None and not (user and colon and password):
            yield "auth", "must be a user and a password, as in --auth anna:secret"
        if self.token is not None and (len(self.token) < _FEWEST_CHARACTERS or not self.token.isascii()):
            yield "token", f"must have {_FEWEST_CHARACTERS} characters or more, of ASCII"
        if self.auth is not None and self.token is not None:
            yield "token", "does not go with auth: one of them is enough"
        if not is_loopback(self.host) and self.auth is None and self.token is None:
            yield "host", f"{self.host} lets other machines in, so it needs --auth USER:PASSWORD or --token TEXT"
