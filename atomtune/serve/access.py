"""Access tokens of the server: read, and compared without telling by the time how much of one was right."""

import hashlib
import hmac
import os
from collections.abc import Collection

from ..data.text_files import problem_of, read_lines
from ..errors import UsageError
from .options import ServeOptions, is_loopback

TOKEN_VARIABLE = "ATOMTUNE_TOKEN"
SHORTEST = 16
"""Characters of a token; `python -c "import secrets; print(secrets.token_urlsafe())"` makes one of 43."""

_MAKE = 'python -c "import secrets; print(secrets.token_urlsafe())" makes one'


def read_tokens(options: ServeOptions) -> list[bytes]:
    """The digests of the access tokens; none where everybody on this machine has access.

    Raises UsageError where the file cannot be read or holds none, a token is short, or there is none though the server
    can be reached from elsewhere.
    """
    tokens = [os.environ[TOKEN_VARIABLE]] if os.environ.get(TOKEN_VARIABLE) else []
    if options.token_file is not None:
        try:
            lines = [line.strip() for line in read_lines(options.token_file)]
        except (OSError, ValueError) as problem:
            raise UsageError(f"cannot read tokens from {options.token_file}: {problem_of(problem)}", _MAKE) from None
        found = [line for line in lines if line and not line.startswith("#")]
        if not found:
            raise UsageError(f"{options.token_file} holds no tokens", _MAKE)
        tokens += found
    if any(len(token) < SHORTEST or not token.isascii() for token in tokens):
        raise UsageError(f"a token must have {SHORTEST} ASCII characters or more", _MAKE)
    if not tokens and not is_loopback(options.host):
        raise UsageError(
            f"--host {options.host} can be reached from other machines, and there is no access token",
            f"--token-file FILE or ${TOKEN_VARIABLE} has one; {_MAKE}",
        )
    return [_digest(token) for token in tokens]


def is_known(token: str, digests: Collection[bytes]) -> bool:
    """Whether a token is one of those that are let in; each is compared."""
    given = _digest(token)
    same = [hmac.compare_digest(given, digest) for digest in digests]
    return any(same)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
