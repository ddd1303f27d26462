"""Requests to key services over HTTP, on the product's own client.

An edge. One deadline covers everything of a call, its repetitions included; an
answer is read up to a bound; no redirect is followed, since a request holds a
credential; certificates are verified. Only calls that change nothing at the
service are repeated. No text of an answer reaches an error: a service may quote
what it was sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec

from fairlead import __version__
from fairlead.config.kinds import UpstreamTls
from fairlead.errors import (
    FairleadError,
    InvalidRequest,
    KeyServiceUnavailable,
    UpstreamDisconnected,
)
from fairlead.net.client import Client, Origin
from fairlead.net.http1 import request, request_head
from fairlead.net.proxy import absolute_form

MAX_ANSWER_BYTES: Final = 262_144
_ATTEMPTS: Final = 3
_FIRST_PAUSE_S: Final = 0.05
_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})

Header = tuple[bytes, bytes]
Pause = Callable[[float], Awaitable[object]]
T = TypeVar("T")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer that is neither a failure of the service nor a redirect. `__repr__` shows no body."""

    status: int
    body: bytes

    def __repr__(self) -> str:
        return f"Answer(status={self.status})"

    @property
    def fine(self) -> bool:
        """The service has done what it was asked."""
        return 200 <= self.status < 300


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `__repr__` shows nothing of it."""

    target: str
    """Path and query."""
    body: bytes = b""
    method: str = "POST"
    headers: tuple[Header, ...] = ()
    repeatable: bool = True
    """It changes nothing at the service."""

    def __repr__(self) -> str:
        return f"Post({self.method})"


class Wire(Protocol):
    """Where requests go."""

    @property
    def authority(self) -> str:
        """What stands in the `host` field, for signatures."""
        ...

    async def ask(self, post: Post, busy: Callable[[Answer], bool] | None = None) -> Answer:
        """Send a request. `busy` tells answers below 500 that mean "later" as well.

        Raises:
            KeyServiceUnavailable: no usable answer in time.
        """
        ...


class HttpWire:
    """One service's address."""

    def __init__(
        self,
        client: Client,
        url: str,
        *,
        service: str,
        timeout_s: float,
        tls: UpstreamTls | None = None,
        proxy: str | None = None,
        pause: Pause = asyncio.sleep,
    ) -> None:
        """Prepare for an address.

        Args:
            client: opens and keeps the connections.
            url: scheme, host, port and a path that all targets are put behind.
            service: the service's name, for messages.
            timeout_s: for one call as a whole.
            tls: authorities and client certificate.
            proxy: an HTTP proxy's URL.
            pause: waits between repetitions.
        """
        parts = urlsplit(url)
        self._origin = Origin(
            scheme=parts.scheme,
            host=parts.hostname or "",
            port=parts.port or (443 if parts.scheme == "https" else 80),
            tls=tls,
            proxy=proxy,
            connect_timeout_s=min(timeout_s, 5.0),
            max_connections=16,
        )
        self._base = parts.path.rstrip("/")
        self._client = client
        self._service = service
        self._timeout_s = timeout_s
        self._pause = pause

    @property
    def authority(self) -> str:
        return self._origin.authority

    async def ask(self, post: Post, busy: Callable[[Answer], bool] | None = None) -> Answer:
        """Send a request, up to three times when it may be repeated."""
        message = self._message(post)
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = await self._once(message, deadline)
            except FairleadError as error:
                # Before anything was sent there is nothing that could happen twice.
                unsent = isinstance(error, UpstreamDisconnected) and error.unsent
                if not (error.retryable and (post.repeatable or unsent)) or not self._again(
                    attempt, deadline
                ):
                    raise self._unavailable("cannot be asked: " + error.message) from error
            else:
                late = answer.status in _BUSY or answer.status >= 500 or (busy is not None and busy(answer))
                if not late:
                    return self._final(answer)
                if not post.repeatable or not self._again(attempt, deadline):
                    raise self._unavailable(f"answered {answer.status}")
            await self._pause(_FIRST_PAUSE_S * 4 ** (attempt - 1))

    def _again(self, attempt: int, deadline: float) -> bool:
        pause_s = _FIRST_PAUSE_S * 4 ** (attempt - 1)
        return attempt < _ATTEMPTS and asyncio.get_running_loop().time() + pause_s < deadline

    def _final(self, answer: Answer) -> Answer:
        if 300 <= answer.status < 400:
            raise self._unavailable("redirects, which is not followed: name the right address")
        return answer

    def _unavailable(self, what: str) -> KeyServiceUnavailable:
        return KeyServiceUnavailable(f"{self._service}: the key service at {self._origin.label} {what}")

    def _message(self, post: Post) -> bytes:
        prefix, proxy_headers = absolute_form(self._origin)
        try:
            head = request_head(
                post.method,
                prefix + self._base + post.target,
                self._origin.authority,
                (
                    (b"user-agent", f"fairlead/{__version__}".encode()),
                    (b"accept", b"application/json"),
                    *proxy_headers,
                    *post.headers,
                ),
            )
        except InvalidRequest as error:
            raise self._unavailable("cannot be asked: " + error.message) from error
        return request(head, post.body)

    async def _once(self, message: bytes, deadline: float) -> Answer:
        connection = self._client.idle(self._origin)
        if connection is None:
            connection = await self._client.connect(self._origin, deadline)
        kept = False
        try:
            connection.deadline = deadline
            connection.send(message)
            head = await connection.head()
            body = await connection.read_all(MAX_ANSWER_BYTES)
            connection.release()
            kept = True
        finally:
            if not kept:
                connection.abort()
        return Answer(status=head.status, body=body)


def decoded(answer: Answer, kind: type[T], service: str) -> T:
    """The body of an answer as a type.

    Raises:
        KeyServiceUnavailable: it is not what the service's API prescribes.
    """
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, ValueError) as error:
        raise KeyServiceUnavailable(f"{service}: the key service's answer is not one of its API") from error
