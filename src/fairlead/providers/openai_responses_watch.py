"""Reading a native Responses stream in passing.

Nearly all events are deltas. One that arrives alone is recognised by its type.
In a block of several, each carries the word `.delta"` exactly once outside its
texts (inside them the quote is escaped), so they are counted; every other
event is decoded.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers.dialect import Glimpse
from fairlead.providers.openai_errors import failure_in_stream, failure_of, is_error
from fairlead.providers.openai_sse import EventBuffer, data_of, events
from fairlead.providers.openai_usage import read_usage
from fairlead.providers.raw import NOTHING
from fairlead.types import Failure, FailureKind


class _Details(msgspec.Struct, frozen=True, kw_only=True):
    reason: str | None = None


class _Response(msgspec.Struct, frozen=True, kw_only=True):
    status: str | None = None
    model: str | None = None
    usage: msgspec.Raw = NOTHING
    service_tier: str | None = None
    error: msgspec.Raw = NOTHING
    incomplete_details: _Details | None = None
    object: str | None = None
    output: msgspec.Raw = NOTHING


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    type: str = ""
    response: _Response | None = None
    error: msgspec.Raw = NOTHING
    object: str | None = None


class _Kind(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    type: str = ""


_KIND: Final = msgspec.json.Decoder(_Kind)
_EVENT: Final = msgspec.json.Decoder(_Event)
_RESPONSE: Final = msgspec.json.Decoder(_Response)


class ResponsesWatcher:
    """Watches a native Responses stream."""

    __slots__ = ("_buffer", "glimpse")

    def __init__(self) -> None:
        self.glimpse = Glimpse()
        self._buffer = EventBuffer()

    def feed(self, data: bytes) -> bytes:
        """See `Watcher.feed`."""
        glimpse = self.glimpse
        if glimpse.failure is not None or glimpse.ended:
            return b""
        if self._buffer.idle and _is_one_delta(data):
            glimpse.chunks += 1
            return data
        try:
            block = self._buffer.feed(data)
        except BadUpstreamAnswer as error:
            glimpse.failure = Failure(kind=FailureKind.BAD_ANSWER, message=error.message)
            return b""
        if not block:
            return b""
        count = block.count(b"\n\n")
        if block.count(b'.delta"') == count and b'"response.' in block and b'"error"' not in block:
            glimpse.chunks += count
            return block
        relayed: list[bytes] = []
        for event in events(block):
            if not self._look(data_of(event)):
                break
            relayed.append(event + b"\n\n")
            if self.glimpse.ended:
                break
        return b"".join(relayed)

    def rest(self) -> bytes:
        """See `Watcher.rest`."""
        return self._buffer.rest()

    def _look(self, data: bytes) -> bool:
        """Take in one event. False when it says that the answer failed."""
        glimpse = self.glimpse
        if not data or data.strip() == b"[DONE]":
            return True
        try:
            event = _EVENT.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            glimpse.failure = Failure(
                kind=FailureKind.BAD_ANSWER,
                message="an event of the upstream's stream is not what its dialect prescribes",
            )
            return False
        if event.type == "error" or is_error(event.error, event.object):
            glimpse.failure = failure_in_stream(data)
        elif event.response is not None:
            _take(glimpse, event.response)
        elif event.type.endswith(".delta"):
            glimpse.chunks += 1
        return glimpse.failure is None


def _is_one_delta(data: bytes) -> bool:
    """Whether the bytes are one event, whole, and a delta: the usual case."""
    start = data.find(b"\n", 0, 100) + 1
    if not data.startswith(b"event: ") or not data.startswith(b"data: ", start) or not data.endswith(b"\n\n"):
        return False
    try:
        return _KIND.decode(data[start + 6 :]).type.endswith(".delta")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def glance(body: bytes) -> Glimpse:
    """What a watcher would learn of a whole (not streamed) response."""
    glimpse = Glimpse()
    try:
        response = _RESPONSE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        glimpse.failure = Failure(
            kind=FailureKind.BAD_ANSWER, message="the upstream's answer is not a response"
        )
        return glimpse
    if response.object == "error" or (response.status is None and is_error(response.error, None)):
        glimpse.failure = failure_of(200, [], body)
        return glimpse
    _take(glimpse, response)
    if response.status in ("queued", "in_progress"):
        glimpse.ended = True  # `background`: the answer is whole, the work is not
    glimpse.chunks = 0 if bytes(response.output) in (b"", b"null", b"[]") else 1
    return glimpse


def _take(glimpse: Glimpse, response: _Response) -> None:
    """Learn from a `response` object."""
    glimpse.model = response.model or glimpse.model
    glimpse.usage = read_usage(response.usage, response.service_tier) or glimpse.usage
    match response.status:
        case "completed":
            glimpse.finish_reason = "completed"
            glimpse.ended = True
        case "incomplete":
            details = response.incomplete_details
            glimpse.finish_reason = (details.reason if details else None) or "incomplete"
            glimpse.ended = True
        case "cancelled":
            glimpse.failure = Failure(kind=FailureKind.CUT, message="the upstream cancelled the response")
        case "failed":
            glimpse.failure = failure_of(200, [], b'{"error":%b}' % (bytes(response.error) or b"null"))
        case _:
            pass
