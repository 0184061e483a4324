"""Who may ask the server for anything: an ASGI layer around the whole page, its files and its API.

Without a password or token only this machine is served. A page of another site, which the user's browser has open too,
is told apart by the headers Host and Origin.
"""

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .options import UiOptions, is_loopback

COOKIE = "atomtune_token"
LARGEST_BODY = 120_000_000  # bytes of a request; an upload of several files has one for each

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; frame-src 'self'; frame-ancestors 'self'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class Guard:
    """Lets requests through to an application that come from those who may ask, and says 401 or 403 to others."""

    def __init__(self, application: Application, options: UiOptions) -> None:
        self.application = application
        self.options = options
        self.local_only = options.auth is None and options.token is None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.application(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # the page needs nothing else
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if self.local_only and not is_loopback(_host(headers.get("host", ""))):
            await _answer(send, 403, "this server answers to this machine alone")
            return
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            await _answer(send, 403, "a page of another site may not ask this server")
            return
        if _length(headers) > LARGEST_BODY:
            await _answer(send, 413, f"more than {LARGEST_BODY // 1_000_000} MB at once")
            return
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        if not self.may_ask(headers, query):
            asks = [(b"www-authenticate", b'Basic realm="atomtune", charset="UTF-8"')] if self.options.auth else []
            await _answer(send, 401, _WHO[self.options.auth is None], asks)
            return
        if self.options.token and "token" in query and scope["method"] == "GET":
            # the address bar and the history need not keep it
            cookie = f"{COOKIE}={self.options.token}; HttpOnly; SameSite=Strict; Path=/"

            await _answer(send, 303, "", [(b"set-cookie", cookie.encode()), (b"location", b"/")])
            return
        await self.application(scope, _limited(receive), _with_headers(send))

    def may_ask(self, headers: dict[str, str], query: dict[str, list[str]]) -> bool:
        """Whether a request carries the password or the token."""
        if self.local_only:
            return True
        kind, _, secret = headers.get("authorization", "").partition(" ")
        if self.options.auth is not None:
            try:
                said = base64.b64decode(secret, validate=True).decode("utf-8")
            except (binascii.Error, ValueError):
                return False
            return kind.lower() == "basic" and _equal(said, self.options.auth)
        return any(_equal(said, self.options.token or "") for said in _tokens(kind, secret, headers, query))


_WHO = {False: "user and password are needed", True: "the address of this page carries a token: ?token=…"}


def _tokens(kind: str, secret: str, headers: dict[str, str], query: dict[str, list[str]]) -> Iterator[str]:
    if kind.lower() == "bearer":
        yield secret
    yield from query.get("token", [])
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return
    if cookie is not None:
        yield cookie.value


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())  # in a time that tells nothing


def _host(text: str) -> str:
    return (urlsplit(f"//{text}").hostname or "") if text.isprintable() and "/" not in text else ""


def _length(headers: dict[str, str]) -> int:
    text = headers.get("content-length", "0")
    return int(text) if text.isdecimal() and len(text) < 19 else LARGEST_BODY + 1


def _limited(receive: Receive) -> Receive:
    """Bodies whose length was not told end where they are too long."""
    taken = 0

    async def receive_some() -> MutableMapping[str, Any]:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        return {"type": "http.disconnect"} if taken > LARGEST_BODY else message

    return receive_some


def _with_headers(send: Send) -> Send:
    async def send_more(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            known = {name.lower() for name, _ in message.get("headers", [])}
            message["headers"] = [*message.get("headers", []), *(pair for pair in _HEADERS if pair[0] not in known)]
        await send(message)

    return send_more


async def _answer(send: Send, status: int, text: str, more: list[tuple[bytes, bytes]] | None = None) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *(more or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
