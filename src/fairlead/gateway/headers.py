"""Header blocks towards the client and the upstream, as bytes ready to send."""

from __future__ import annotations

from typing import Final

from fairlead.gateway.auth import Grant
from fairlead.gateway.exchange import Exchange
from fairlead.net.client import ResponseHead
from fairlead.net.server import Head
from fairlead.telemetry.otel.trace_context import valid_parent, valid_state

_FORWARD: Final = (b"anthropic-beta", b"openai-beta")
"""Client headers that go upstream as they are; everything else is between client and gateway."""
_TRACE: Final = (b"traceparent", b"tracestate")
"""These too, where the gateway makes no spans of its own between the client's and the upstream's."""
_STREAM: Final = (
    b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
)
_RETURN: Final = (
    b"openai-processing-ms", b"openai-version", b"content-disposition",
)  # fmt: skip
"""Upstream headers that clients get back."""


class ClientFacts:
    """What a client's header fields say, read once for all requests whose fields are the same."""

    __slots__ = (
        "allowed", "echoed", "forwarded", "grant", "keys", "patience_s", "retry", "trace_lines",
        "trace_parent", "trace_state",
    )  # fmt: skip

    def __init__(self, headers: dict[bytes, bytes]) -> None:
        """Read the fields (W3C Trace Context; the `x-stainless` fields of OpenAI's and Anthropic's SDKs)."""
        self.patience_s = _patience_s(headers)
        """Seconds this client waits, if it says so."""
        self.forwarded = b"".join(
            b"%b: %b\r\n" % (name, headers[name]) for name in _FORWARD if name in headers
        )
        """Lines for the upstream."""
        self.trace_lines = b"".join(
            b"%b: %b\r\n" % (name, headers[name]) for name in _TRACE if name in headers
        )
        """More of them, unless each attempt has its own."""
        self.trace_parent = valid_parent(headers.get(b"traceparent"))
        self.trace_state = valid_state(headers.get(b"tracestate")) if self.trace_parent else ""
        tried = headers.get(b"x-stainless-retry-count")
        self.retry = int(tried) if tried is not None and tried.isdigit() and len(tried) < 4 else 0
        """How often the client has tried before."""
        echoed = headers.get(b"x-client-request-id")
        self.echoed = b"" if echoed is None else b"x-client-request-id: %b\r\n" % echoed[:512]
        """Lines that go back to the client."""
        self.grant: Grant | None = None
        """What the key of these fields allows, as of `keys`."""
        self.keys: object = None
        """The `mark` of the snapshot of keys in which `grant` was found."""
        self.allowed: tuple[str, str] | None = None
        """Endpoint and model that `grant` was last asked for and covers."""

    def patience(self, total_s: float) -> float:
        """Seconds this client waits: what it says, bounded by the configured total."""
        stated = self.patience_s
        return total_s if stated is None or stated > total_s else stated


def client_facts(head: Head) -> ClientFacts:
    """What the fields of this head say."""
    facts: ClientFacts | None = head.notes.get("client")
    if facts is None:
        facts = head.notes["client"] = ClientFacts(head.headers)
    return facts


def answer_headers(ex: Exchange, head: ResponseHead) -> bytes:
    """Header block of a whole answer: its media type, what the upstream adds, and ours."""
    block = head.notes.get("block")
    if block is None:
        upstream = head.headers
        block = b"content-type: %b\r\n" % upstream.get(b"content-type", b"application/json")
        for name in _RETURN:
            value = upstream.get(name)
            if value is not None:
                block += b"%b: %b\r\n" % (name, value)
        head.notes["block"] = block
    return block + own_headers(ex)


def stream_headers(ex: Exchange, head: ResponseHead | None = None) -> bytes:
    """Header block of a stream: server-sent events, or with `head` the upstream's own media type."""
    if head is not None:
        return answer_headers(ex, head)
    return _STREAM + own_headers(ex)


def own_headers(ex: Exchange) -> bytes:
    """Header block of every answer, also of errors: ids, and who answered."""
    request_id = ex.id.encode()
    echoed = client_facts(ex.call.head).echoed
    target = ex.target
    if ex.rate_headers:
        echoed += ex.rate_headers
    if ex.cache_headers:
        echoed += ex.cache_headers
    if target is None:
        return b"x-request-id: %b\r\nrequest-id: %b\r\n%b" % (request_id, request_id, echoed)
    if ex.ignored:
        echoed += b"x-fairlead-ignored: %b\r\n" % ", ".join(ex.ignored).encode()
    return b"x-request-id: %b\r\nrequest-id: %b\r\nx-fairlead-target: %b\r\nx-fairlead-attempts: %d\r\n%b" % (
        request_id,
        request_id,
        target.salt,
        len(ex.attempts) + 1,
        echoed,
    )


def forwarded(ex: Exchange) -> bytes:
    """Header lines of this request that every attempt sends upstream."""
    facts = client_facts(ex.call.head)
    if ex.trace is not None:
        return b"x-request-id: %b\r\n%b" % (ex.id.encode(), facts.forwarded)
    return b"x-request-id: %b\r\n%b%b" % (ex.id.encode(), facts.forwarded, facts.trace_lines)


def _patience_s(headers: dict[bytes, bytes]) -> float | None:
    stated = headers.get(b"x-stainless-read-timeout") or headers.get(b"x-stainless-timeout")
    if stated is None:
        return None
    try:
        seconds = float(stated)
    except ValueError:
        return None
    # NaN compares false.
    return seconds if seconds > 0 else None
