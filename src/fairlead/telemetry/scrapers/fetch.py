"""One page of metrics over HTTP, bounded in time and size.

An edge. The deadline is for the whole of it, so that a peer that sends a byte
a second gains nothing; the size is that of the page as it is read, so that a
small packed one cannot become a large one. No redirect is followed. Every way
to fail is a `FairleadError`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import msgspec

from fairlead import __version__
from fairlead.config.scrape_options import Endpoint
from fairlead.errors import BadUpstreamAnswer, ConfigError
from fairlead.net.client import Client, Origin

ACCEPT: Final = b"accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4\r\n"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a page is: whom to ask, and the request's bytes, which may hold a credential."""

    origin: Origin
    request: bytes

    def __repr__(self) -> str:
        return f"Place({self.origin.label})"


def place_of(
    endpoint: Endpoint, bearer: str | None, proxy_for: Callable[[str, str, int], str | None]
) -> Place:
    """How a configured endpoint is asked; `bearer` is its token's value.

    Raises:
        ConfigError: the token cannot stand in a header.
    """
    parts = urlsplit(endpoint.url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    origin = Origin(
        scheme=parts.scheme,
        host=host,
        port=port,
        tls=endpoint.tls,
        proxy=proxy_for(parts.scheme, host, port),
        connect_timeout_s=endpoint.timeout_s,
        max_connections=4,
    )
    lines = [
        f"GET {parts.path or '/'} HTTP/1.1",
        f"host: {origin.authority}",
        f"user-agent: fairlead/{__version__}",
    ]
    if bearer is not None:
        if not bearer.isascii() or not bearer.isprintable():
            raise ConfigError(
                f"telemetry.scrape: the token for {origin.label} holds what no header can carry"
            )
        lines.append(f"authorization: Bearer {bearer}")
    return Place(origin=origin, request="\r\n".join(lines).encode() + b"\r\n" + ACCEPT + b"\r\n")


async def fetch(client: Client, place: Place, *, deadline: float, max_bytes: int) -> tuple[int, bytes]:
    """Status and page; the page of anything but a 200 is empty.

    Args:
        client: its connections are kept and used again.
        place: what to ask.
        deadline: on the loop's clock, for everything together.
        max_bytes: of the page, unpacked.

    Raises:
        FairleadError: it did not answer in time, or not in HTTP, or with too much.
    """
    conn = client.idle(place.origin)
    if conn is None:
        conn = await client.connect(place.origin, deadline)
    kept = False
    try:
        conn.deadline = deadline
        conn.send(place.request)
        head = await conn.head()
        page = await conn.read_all(max_bytes)
        conn.release()
        kept = True
    finally:
        if not kept:
            conn.abort()
    if head.status != 200:
        return head.status, b""
    return 200, _unpacked(page, head.headers.get(b"content-encoding", b""), max_bytes, place.origin.label)


def _unpacked(page: bytes, encoding: bytes, max_bytes: int, label: str) -> bytes:
    """The page as it was before it was packed; some exporters pack without being asked to."""
    coding = encoding.strip().lower()
    if coding in (b"", b"identity"):
        return page
    if coding not in (b"gzip", b"x-gzip", b"deflate"):
        raise BadUpstreamAnswer(f"{label}: the page's content encoding is not known")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS if coding == b"deflate" else zlib.MAX_WBITS | 16)
    try:
        text = unpacker.decompress(page, max_bytes + 1)
    except zlib.error as error:
        raise BadUpstreamAnswer(f"{label}: the page cannot be unpacked") from error
    if len(text) > max_bytes:
        raise BadUpstreamAnswer(f"{label}: the page is larger than {max_bytes} bytes")
    if not unpacker.eof:
        raise BadUpstreamAnswer(f"{label}: the packed page ends early")
    return text
