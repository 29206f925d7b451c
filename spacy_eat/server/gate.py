"""What every request must pass, before anything else is done for it, and what every answer has."""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

# Nothing from elsewhere, nothing inline, no frames; HTML is made of strings in one place of app.js alone.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types spacy-eat"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
# What is answered to those who are not let in.
REFUSALS = {
    400: "The request is not complete, or not in UTF-8",
    401: "The token is missing or wrong",
    403: "The request comes from a page of another server",
    408: "The request did not arrive in time",
    413: "The request is too long",
    421: "The server is not called by this name",
    503: "The server is busy",
}
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
BODY_TIMEOUT = 30.0  # seconds in which the body of a request must have arrived
BUSY = 2  # seconds after which a client may come again


def is_local(host: str) -> bool:
    """RETURNS (bool): Whether only this machine reaches a host."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Rules:
    """What is let in.

    hosts (Sequence[str]): Names that the server may be called by, in lower case and without port; empty for
        any. A page from elsewhere that has its own name point here (DNS rebinding) is kept out by it.
    token (Optional[str]): What clients must have, None for nothing.
    public (Sequence[str]): Paths that need no token.
    most_bytes (int): The longest body.
    most_bytes_together (int): The bodies of all requests that are being dealt with.
    """

    hosts: Sequence[str]
    token: str | None
    public: Sequence[str]
    most_bytes: int
    most_bytes_together: int


class _Refusal(Exception):
    """Why a request is not let in."""

    def __init__(self, status: int, detail: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers


class Gate:
    """An ASGI app before another one. Bodies are read here, and are in memory once."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        """
        app (ASGIApp): What is behind it.
        rules (Rules): What is let in.
        """
        self.app = app
        self.rules = rules
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or say why not."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _with_defaults(message.get("headers", ()))
            await send(message)

        parts: list[bytes] = []
        try:
            self._check(scope)
            await self._read(scope, receive, parts)
            await self.app(scope, _Replay(parts[0], receive), answer)
        except _Refusal as refusal:
            await _refuse(refusal, answer)
        finally:
            self._held -= sum(map(len, parts))

    def _check(self, scope: Scope) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if self.rules.hosts and _name(host) not in self.rules.hosts:
            raise _Refusal(421, "The server is not called by this name: see --allow-host")
        origin = headers.get(b"origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise _Refusal(403, "The request comes from a page of another server")
        if self.rules.token is None or scope["path"] in self.rules.public:
            return
        kind, _, given = headers.get(b"authorization", "").partition(" ")
        expected = self.rules.token.encode("utf-8")
        if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1"), expected):
            challenge = [(b"www-authenticate", b"Bearer")]
            raise _Refusal(401, "The header `Authorization: Bearer TOKEN` is missing or wrong", challenge)

    async def _read(self, scope: Scope, receive: Receive, parts: list[bytes]) -> None:
        """Read the body into one part. What has arrived counts as held, even where the rest is refused."""
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        self._make_room(int(length) if length.isdigit() else 0, 0)
        try:
            await asyncio.wait_for(self._receive(receive, parts), BODY_TIMEOUT)
        except asyncio.TimeoutError:
            raise _Refusal(408, f"The request did not arrive within {BODY_TIMEOUT:.0f} seconds") from None
        parts[:] = [b"".join(parts)]

    async def _receive(self, receive: Receive, parts: list[bytes]) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Refusal(400, "The request is not complete")
            part, more = message.get("body", b""), message.get("more_body", False)
            size += len(part)
            self._make_room(size, len(part))
            parts.append(part)
            self._held += len(part)

    def _make_room(self, size: int, more: int) -> None:
        """RAISES (_Refusal): If a body is too large, or there is no room for more of it."""
        if size > self.rules.most_bytes:
            raise _Refusal(413, f"The request has more than {self.rules.most_bytes} bytes")
        if self._held + more > self.rules.most_bytes_together:
            raise _Refusal(503, "The server is busy", [(b"retry-after", str(BUSY).encode())])


class _Replay:
    """`receive` for an app whose request's body has been read."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self.body: bytes | None = body
        self.receive = receive

    async def __call__(self) -> Message:
        if self.body is None:
            return await self.receive()
        body, self.body = self.body, None
        return {"type": "http.request", "body": body, "more_body": False}


def _name(host: str) -> str:
    """RETURNS (str): The name of a Host header, without the port."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()


def _with_defaults(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    own = list(headers)
    names = {name.lower() for name, _ in own}
    return [*own, *((name, value) for name, value in HEADERS if name not in names)]


async def _refuse(refusal: _Refusal, send: Send) -> None:
    body = json.dumps({"detail": str(refusal)}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # what is left of the request is not read
        *refusal.headers,
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
