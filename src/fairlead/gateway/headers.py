"""Header blocks towards the client and the upstream, as bytes ready to send."""

from __future__ import annotations

import re
from typing import Final

from fairlead.gateway.exchange import Exchange
from fairlead.net.client import ResponseHead

_FORWARD: Final = (b"anthropic-beta", b"openai-beta", b"traceparent", b"tracestate")
"""Client headers that go upstream as they are; everything else is between client and gateway."""
_TRACE_PARENT: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_RETURN: Final = (
    b"openai-processing-ms", b"openai-version", b"content-disposition",
)  # fmt: skip
"""Upstream headers that clients get back."""


def answer_headers(ex: Exchange, head: ResponseHead) -> bytes:
    """Header block of a whole answer: its media type, what the upstream adds, and ours."""
    upstream = head.headers
    block = b"content-type: %b\r\n" % upstream.get(b"content-type", b"application/json")
    for name in _RETURN:
        value = upstream.get(name)
        if value is not None:
            block += b"%b: %b\r\n" % (name, value)
    return block + _own(ex)


def stream_headers(ex: Exchange, head: ResponseHead | None = None) -> bytes:
    """Header block of a stream: server-sent events, or with `head` the upstream's own media type."""
    if head is not None:
        return answer_headers(ex, head)
    return (
        b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
        b"x-accel-buffering: no\r\n" + _own(ex)
    )


def own_headers(ex: Exchange) -> bytes:
    """Header block of every answer, also of errors: ids, and who answered."""
    return _own(ex)


def forwarded(ex: Exchange) -> bytes:
    """Header lines of this request that every attempt sends upstream."""
    headers = ex.call.head.headers
    extra = b"x-request-id: %b\r\n" % ex.id.encode()
    for name in _FORWARD:
        value = headers.get(name)
        if value is not None:
            extra += b"%b: %b\r\n" % (name, value)
    return extra


def note_client(ex: Exchange, headers: dict[bytes, bytes]) -> None:
    """What the client says of itself: its trace (W3C Trace Context) and how often it has tried."""
    parent = headers.get(b"traceparent")
    if parent is not None and _TRACE_PARENT.fullmatch(parent):
        ex.trace_parent = parent.decode()
    tried = headers.get(b"x-stainless-retry-count")
    if tried is not None and tried.isdigit() and len(tried) < 4:
        ex.client_retry = int(tried)


def client_patience_s(headers: dict[bytes, bytes], total_s: float) -> float:
    """Seconds this client waits: SDKs say so in a header; bounded by the configured total."""
    stated = headers.get(b"x-stainless-read-timeout") or headers.get(b"x-stainless-timeout")
    if stated is None:
        return total_s
    try:
        seconds = float(stated)
    except ValueError:
        return total_s
    # NaN compares false and falls through to the configured total.
    return min(seconds, total_s) if seconds > 0 else total_s


def _own(ex: Exchange) -> bytes:
    request_id = ex.id.encode()
    block = b"x-request-id: %b\r\nrequest-id: %b\r\n" % (request_id, request_id)
    target = ex.target
    if target is not None:
        attempts = len(ex.attempts) + 1
        block += b"x-fairlead-target: %b\r\nx-fairlead-attempts: %d\r\n" % (target.salt, attempts)
        if ex.ignored:
            block += b"x-fairlead-ignored: %b\r\n" % ", ".join(ex.ignored).encode()
    echoed = ex.call.head.headers.get(b"x-client-request-id")
    if echoed is not None:
        block += b"x-client-request-id: %b\r\n" % echoed[:512]
    return block
