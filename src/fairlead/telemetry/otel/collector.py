"""Sends requests to an OpenTelemetry collector: OTLP over HTTP, with protobuf bodies.

An edge. Built on the gateway's own HTTP client, so that the collector has the
TLS options, proxies and deadlines that upstreams have. Which answers mean that
a request may be repeated is OTLP's (429, 502, 503 and 504).
"""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol
from urllib.parse import urlsplit

import msgspec

from fairlead import __version__
from fairlead.config.kinds import Secret
from fairlead.config.otel_options import Otel
from fairlead.errors import ConfigError, FairleadError
from fairlead.net.client import Client, Origin

_MAX_ANSWER: Final = 256 * 1024
_REPEATABLE: Final = frozenset({429, 502, 503, 504})
_LONGEST_WAIT_S: Final = 60.0


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one request."""

    status: int
    """HTTP's; 0 when there was no answer."""
    body: bytes = b""
    error: str = ""
    """Why there was no answer, in words."""
    retry_after_s: float | None = None

    @property
    def fine(self) -> bool:
        """The collector has taken it."""
        return 200 <= self.status < 300

    @property
    def repeatable(self) -> bool:
        """The same request may succeed later."""
        return self.status == 0 or self.status in _REPEATABLE


class Collector(Protocol):
    """Where requests are sent."""

    async def send(self, signal: str, body: bytes) -> Reply:
        """Send a request for one of `traces`, `metrics` and `logs`. Raises nothing but cancellation."""
        ...


class HttpCollector:
    """The configured collector."""

    def __init__(
        self,
        options: Otel,
        client: Client,
        *,
        resolve: Callable[[Secret], str],
        proxy_for: Callable[[str, str, int], str | None],
    ) -> None:
        """Resolve everything that a request needs.

        Args:
            options: the section `telemetry.otel`.
            client: the HTTP client.
            resolve: gives a secret's value, or raises ConfigError.
            proxy_for: the environment's proxy for (scheme, host, port).

        Raises:
            ConfigError: a header's secret is missing or cannot be sent.
        """
        parts = urlsplit(options.endpoint)
        scheme, host = parts.scheme, parts.hostname or ""
        port = parts.port or (443 if scheme == "https" else 80)
        proxy = None if options.proxy == "none" else options.proxy or proxy_for(scheme, host, port)
        self._client = client
        self._timeout_s = options.timeout_s
        self._path = parts.path.rstrip("/")
        self._origin = Origin(scheme=scheme, host=host, port=port, tls=options.tls, proxy=proxy)
        self._lines = _lines(options.headers, self._origin.authority, resolve)

    async def send(self, signal: str, body: bytes) -> Reply:
        """Send a request, compressed."""
        packed = await asyncio.to_thread(gzip.compress, body, 1)
        head = b"POST %b/v1/%b HTTP/1.1\r\n%bcontent-length: %d\r\n\r\n" % (
            self._path.encode(), signal.encode(), self._lines, len(packed),
        )  # fmt: skip
        try:
            return await self._ask(head + packed)
        except FairleadError as error:
            return Reply(status=0, error=error.message)

    async def _ask(self, request: bytes) -> Reply:
        deadline = time.monotonic() + self._timeout_s
        conn = self._client.idle(self._origin)
        if conn is None:
            conn = await self._client.connect(self._origin, deadline)
        kept = False
        try:
            conn.deadline = deadline
            conn.send(request)
            head = await conn.head()
            body = await conn.read_all(_MAX_ANSWER)
            conn.release()
            kept = True
        finally:
            if not kept:
                conn.abort()
        return Reply(
            status=head.status, body=body, retry_after_s=_retry_after_s(head.headers.get(b"retry-after"))
        )


def _lines(headers: Mapping[str, str | Secret], authority: str, resolve: Callable[[Secret], str]) -> bytes:
    lines = [
        (b"host", authority.encode()),
        (b"user-agent", f"fairlead/{__version__}".encode()),
        (b"content-type", b"application/x-protobuf"),
        (b"content-encoding", b"gzip"),
    ]
    for name, value in headers.items():
        text = resolve(value) if isinstance(value, Secret) else value
        if not text.isascii() or not text.isprintable():
            raise ConfigError(f"telemetry.otel.headers.{name}: the value cannot be sent in a header")
        lines.append((name.lower().encode(), text.encode()))
    return b"".join(b"%b: %b\r\n" % line for line in lines)


def _retry_after_s(value: bytes | None) -> float | None:
    """Seconds that the collector asks us to wait; a date is not understood."""
    if value is None or not value.isdigit() or len(value) > 6:
        return None
    return min(float(value), _LONGEST_WAIT_S)
