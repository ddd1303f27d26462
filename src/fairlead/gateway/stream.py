"""Folds the chunks of an answer into bytes for the client and facts for the record.

A reader takes what the upstream sends and returns what the client gets. Both
kinds tell the same facts through a `Glimpse`, so that the pipeline does not
know whether a stream is translated:

* a native reader relays whole events as they came (the dialect's `Watcher`);
* a translated reader decodes events and encodes them for the client.

Neither ever returns part of an event: an error event can be put behind
whatever was relayed.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers.chat import (
    Begin,
    End,
    Event,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    StreamError,
    TextDelta,
    ToolCallBegin,
    ToolCallDelta,
    UsageReport,
)
from fairlead.providers.dialect import Glimpse, StreamDecoder, StreamEncoder, Watcher
from fairlead.providers.tail import Tail
from fairlead.types import Failure, FailureKind


class Reader(Protocol):
    """One attempt's stream on its way through."""

    glimpse: Glimpse
    media: tuple[bytes, ...]
    """Media types that a stream comes in; empty accepts any."""

    def feed(self, data: bytes) -> bytes:
        """What to relay for `data`. `glimpse.failure` is set when the upstream reported an error."""
        ...

    def finish(self) -> bytes:
        """The upstream has ended: the last bytes to relay. Sets `glimpse.failure` when it ended early."""
        ...

    def text(self) -> str | None:
        """The text so far, when the stream could be continued from it; else None."""
        ...


_SSE: Final = (b"event-stream", b"eventstream")


class VerbatimReader:
    """Relays bytes that are nobody's events: audio, images, files."""

    __slots__ = ("_images", "_tail", "glimpse")

    media: tuple[bytes, ...] = ()

    def __init__(self, *, images: bool = False) -> None:
        """Args: images: the answer's tokens are images, where it does not say otherwise."""
        self.glimpse = Glimpse()
        self._images = images
        self._tail = Tail()

    def feed(self, data: bytes) -> bytes:
        self.glimpse.chunks += 1
        self._tail.feed(data)
        return data

    def finish(self) -> bytes:
        # The transport has checked that the body is whole.
        self.glimpse.usage = self._tail.usage(images=self._images)
        self.glimpse.finish_reason = "stop"
        self.glimpse.ended = True
        return b""

    def text(self) -> str | None:
        return None


class NativeReader:
    """Relays a same-dialect stream."""

    __slots__ = ("_end_mark", "_watcher", "feed", "glimpse")

    media: tuple[bytes, ...] = _SSE

    def __init__(self, watcher: Watcher, end_mark: bytes) -> None:
        """Wrap `watcher`; `end_mark` is sent when an upstream finishes without its dialect's own."""
        self._watcher = watcher
        self._end_mark = end_mark
        self.glimpse = watcher.glimpse
        self.feed = watcher.feed

    def finish(self) -> bytes:
        glimpse = self.glimpse
        if _settled(glimpse):
            return b""
        rest = self._watcher.rest()
        # Some engines end without the last blank line: complete the event and look at it.
        tail = self._watcher.feed(b"\n\n") if rest.strip() else b""
        if glimpse.failure is not None and glimpse.failure.kind is FailureKind.BAD_ANSWER:
            # What cannot be read is the half of an event, not an upstream that speaks another dialect.
            glimpse.failure = early_end(glimpse)
        if not _settled(glimpse):
            if glimpse.finish_reason:
                glimpse.ended = True  # or a second call would add a second mark
                return tail + self._end_mark
            glimpse.failure = early_end(glimpse)
        return tail

    def text(self) -> str | None:
        return None


class TranslatedReader:
    """Decodes an upstream's events and encodes them in the client's dialect."""

    __slots__ = ("_created", "_decoder", "_encoder", "_ended", "_plain", "_text", "glimpse")

    media: tuple[bytes, ...] = _SSE

    def __init__(
        self, decoder: StreamDecoder, encoder: StreamEncoder, *, created: int, keep_text: bool = False
    ) -> None:
        """Join the two.

        Args:
            decoder: reads the upstream.
            encoder: writes for the client.
            created: Unix seconds, for dialects whose streams do not tell.
            keep_text: keep the text, so that a cut stream can be continued.
        """
        self._created = created
        self._decoder = decoder
        self._encoder = encoder
        self._ended = False
        self._text: list[str] | None = [] if keep_text else None
        self._plain = True
        self.glimpse = Glimpse()

    def feed(self, data: bytes) -> bytes:
        try:
            events = self._decoder.feed(data)
        except BadUpstreamAnswer as error:
            self.glimpse.failure = Failure(kind=FailureKind.BAD_ANSWER, message=error.message)
            return b""
        return self._relay(events)

    def finish(self) -> bytes:
        glimpse = self.glimpse
        if glimpse.failure is not None or self._ended:
            return b""
        if glimpse.finish_reason:
            return self._relay([End()])
        glimpse.failure = early_end(glimpse)
        return b""

    def text(self) -> str | None:
        if self._text is None or not self._plain or self.glimpse.finish_reason:
            return None
        return "".join(self._text)

    def continue_with(self, other: TranslatedReader) -> None:
        """Go on with the stream that `other` was made for: its beginning is not a new answer."""
        self._decoder = _WithoutBegin(other._decoder)
        self.glimpse.failure = None
        self.glimpse.usage = None

    def _keep(self, event: TextDelta) -> None:
        assert self._text is not None
        self._text.append(event.text)
        if event.choice:
            self._plain = False  # a prefill has room for one text

    def _relay(self, events: list[Event]) -> bytes:
        glimpse = self.glimpse
        passed: list[Event] = []
        for event in events:
            if self._ended:
                break
            kind = type(event)
            if kind is TextDelta:
                glimpse.chunks += 1
                if self._text is not None:
                    self._keep(event)  # type: ignore[arg-type]  # kind was compared
            elif isinstance(event, ReasoningDelta | RefusalDelta | ToolCallDelta | ToolCallBegin):
                glimpse.chunks += 1
                self._plain = False
            elif isinstance(event, Finish):
                glimpse.finish_reason = event.reason.value
            elif isinstance(event, UsageReport):
                glimpse.usage = event.usage
                glimpse.engine = event.engine or glimpse.engine
            elif isinstance(event, Begin):
                glimpse.model = event.model
                if not event.created:
                    event = msgspec.structs.replace(event, created=self._created)
                if event.usage is not None:
                    glimpse.usage = event.usage
            elif isinstance(event, StreamError):
                glimpse.failure = event.failure
                break
            elif isinstance(event, End):
                if not glimpse.finish_reason:
                    # An end mark without a finish reason is a cut stream in disguise.
                    glimpse.failure = early_end(glimpse)
                    break
                self._ended = True
                glimpse.ended = True
            passed.append(event)
        return self._encoder.encode(passed) if passed else b""


class _WithoutBegin:
    """Leaves out the first event of a continuing stream."""

    __slots__ = ("_decoder",)

    def __init__(self, decoder: StreamDecoder) -> None:
        self._decoder = decoder

    def feed(self, data: bytes) -> list[Event]:
        return [event for event in self._decoder.feed(data) if not isinstance(event, Begin)]


def _settled(glimpse: Glimpse) -> bool:
    return glimpse.failure is not None or glimpse.ended


def early_end(glimpse: Glimpse) -> Failure:
    """The failure of a stream that ended without a finish reason."""
    if not glimpse.chunks:
        return Failure(kind=FailureKind.EMPTY, message="the stream ended without any content")
    return Failure(
        kind=FailureKind.CUT,
        message=f"the stream ended after {glimpse.chunks} content events without a finish reason",
    )
