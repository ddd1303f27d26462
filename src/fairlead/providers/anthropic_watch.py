"""Reading a Messages stream in passing, when client and upstream both speak it.

Nearly all events of a stream are `content_block_delta`; they are recognised by
their `event:` line and never decoded. Everything else is rare and decoded.
The bytes relayed are the upstream's, in whole events.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers import anthropic_wire as wire
from fairlead.providers.anthropic_answer import usage_of
from fairlead.providers.anthropic_errors import failure, failure_of
from fairlead.providers.dialect import Glimpse
from fairlead.providers.openai_sse import EventBuffer, data_of, events
from fairlead.types import Failure, FailureKind

_DELTA: Final = b"event: content_block_delta\n"

_event_decoder: Final = msgspec.json.Decoder(wire.StreamEvent)
_answer_decoder: Final = msgspec.json.Decoder(wire.Answer)


class AnthropicWatcher:
    """Watches one stream. Every `content_block_delta` counts as one content event."""

    __slots__ = ("_buffer", "_clean", "_started", "glimpse")

    def __init__(self) -> None:
        self.glimpse = Glimpse()
        self._buffer = EventBuffer()
        self._clean = True
        """Nothing is kept of an unfinished event, and the stream has not ended or failed."""
        self._started: wire.Usage | None = None

    def feed(self, data: bytes) -> bytes:
        """See `Watcher.feed`."""
        # JSON holds no raw line feed, so both marks below can only be framing.
        if self._clean and data.startswith(_DELTA) and data.endswith(b"\n\n"):
            count = data.count(_DELTA)
            if count == data.count(b"\n\n"):
                self.glimpse.chunks += count
                return data
        return self._read(data)

    def rest(self) -> bytes:
        """See `Watcher.rest`. The bytes are kept: a blank line fed afterwards completes the event."""
        return self._buffer.rest()

    def _read(self, data: bytes) -> bytes:
        glimpse = self.glimpse
        if glimpse.failure is not None or glimpse.ended:
            return b""
        try:
            block = self._buffer.feed(data)
        except BadUpstreamAnswer as error:
            self._fail(Failure(kind=FailureKind.BAD_ANSWER, message=error.message))
            return b""
        found = events(block) if block else []
        for relayed, event in enumerate(found, 1):
            payload = data_of(event)
            if payload and not self._take(payload, cut=not data.strip()):
                return _joined(found[: relayed - 1])
            if payload and self._over():
                return _joined(found[:relayed])
        self._clean = not self.rest()
        return block

    def _over(self) -> bool:
        if self.glimpse.ended:
            self._clean = False
        return self.glimpse.ended

    def _take(self, payload: bytes, *, cut: bool) -> bool:
        """Learn from one event. False when it must not be relayed."""
        glimpse = self.glimpse
        try:
            event = _event_decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            kind = FailureKind.CUT if cut else FailureKind.BAD_ANSWER
            what = "the stream was cut inside an event" if cut else "an event of the stream is not valid JSON"
            self._fail(Failure(kind=kind, message=what))
            return False
        if event.error is not None:
            self._fail(failure_of(event.error, None))
            return False
        match event.type:
            case "content_block_delta":
                glimpse.chunks += 1
            case "message_start" if event.message is not None:
                glimpse.model = event.message.model
                self._started = event.message.usage
                glimpse.usage = usage_of(self._started)
            case "message_delta":
                if event.delta is not None and event.delta.stop_reason:
                    glimpse.finish_reason = event.delta.stop_reason
                if event.usage is not None:
                    glimpse.usage = usage_of(self._started, event.usage)
            case "message_stop" if not glimpse.finish_reason:
                # A cut stream in disguise: clients take the end mark for a proper end.
                kind = FailureKind.CUT if glimpse.chunks else FailureKind.EMPTY
                self._fail(Failure(kind=kind, message="the stream ended without a stop_reason"))
                return False
            case "message_stop":
                glimpse.ended = True
        return True

    def _fail(self, failure: Failure) -> None:
        self.glimpse.failure = failure
        self._clean = False


def _joined(found: list[bytes]) -> bytes:
    return b"".join(event + b"\n\n" for event in found)


def glance(body: bytes) -> Glimpse:
    """What a watcher would learn of a whole (not streamed) message.

    `failure` is set when the body is an error object or no message at all.
    """
    glimpse = Glimpse()
    try:
        answer = _answer_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = failure(200, [], body)
        if found.code is None:
            message = "the upstream's answer is not an Anthropic message"
            found = Failure(kind=FailureKind.BAD_ANSWER, message=message)
        glimpse.failure = found
        return glimpse
    glimpse.usage = usage_of(answer.usage)
    if answer.stop_reason is None:
        glimpse.failure = Failure(kind=FailureKind.CUT, message="the upstream's answer has no stop_reason")
        return glimpse
    glimpse.model = answer.model
    glimpse.finish_reason = answer.stop_reason
    glimpse.chunks = len(answer.content)
    glimpse.ended = True
    return glimpse
