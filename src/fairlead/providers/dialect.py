"""The two interfaces of a dialect, and the watcher that reads a same-dialect stream in passing.

A client dialect is what the gateway answers in; an upstream dialect is what
it asks in. Where both are the same, bodies are not translated: the original
bytes travel, with only the model name replaced, and a `Watcher` reads what
the record needs.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from fairlead.errors import FairleadError
from fairlead.providers.chat import Answer, ChatRequest, Event
from fairlead.types import EngineTimes, Failure, Headers, Usage


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream request without authority: path (after the base URL's), own headers, body."""

    path: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    ignored: tuple[str, ...] = ()
    """Advisory fields this dialect has no place for."""


class Glimpse:
    """What a watcher has learned of a same-dialect answer so far. Mutable, one per attempt."""

    __slots__ = ("chunks", "ended", "engine", "failure", "finish_reason", "model", "usage")

    def __init__(self) -> None:
        self.chunks = 0
        """Content events (text, reasoning, tool arguments) seen."""
        self.finish_reason = ""
        """The native finish reason of the last choice that finished."""
        self.usage: Usage | None = None
        self.failure: Failure | None = None
        """An error reported inside the answer."""
        self.ended = False
        """The dialect's own end mark was seen."""
        self.model = ""
        self.engine: EngineTimes | None = None
        """What the engine tells of its own work."""


class Watcher(Protocol):
    """Reads a same-dialect stream in passing."""

    glimpse: Glimpse

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they came and return those to relay now.

        Only whole events are returned, so that an error event can be added
        behind them at any time; the rest is kept for the next call. Events
        that only our own usage request caused are left out. When
        `glimpse.failure` becomes set, the failing event is not returned.
        """
        ...

    def rest(self) -> bytes:
        """Bytes of an unfinished last event, when the upstream has ended."""
        ...


class StreamDecoder(Protocol):
    """Turns an upstream's stream into events."""

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes as they came. Raises BadUpstreamAnswer when they are not the dialect."""
        ...


class StreamEncoder(Protocol):
    """Turns events into a client's stream."""

    def encode(self, events: list[Event]) -> bytes:
        """Bytes for these events; `End` and `StreamError` finish the stream properly."""
        ...


class UpstreamDialect(Protocol):
    """How one kind of provider is asked."""

    def encode(self, request: ChatRequest, model: str) -> Outgoing:
        """The request in this dialect, for the upstream's own `model` name.

        Raises UnsupportedByTarget naming the first field that cannot be carried.
        """
        ...

    def decode(self, body: bytes, headers: Headers) -> Answer:
        """A whole 200 answer. Raises BadUpstreamAnswer."""
        ...

    def decoder(self, request: ChatRequest) -> StreamDecoder: ...

    def failure(self, status: int, headers: Headers, body: bytes) -> Failure:
        """What a non-2xx answer (or an error object in a 200) means."""
        ...

    def usage(self, body: bytes) -> Usage | None:
        """What a whole answer reports that `decode` refused; None when it reports nothing."""
        ...


class ClientDialect(Protocol):
    """How one kind of client speaks."""

    def parse(self, body: bytes) -> ChatRequest:
        """Raises InvalidRequest with `param` naming the field at fault."""
        ...

    def render(self, answer: Answer, request: ChatRequest, request_id: str) -> bytes: ...

    def encoder(self, request: ChatRequest, request_id: str) -> StreamEncoder: ...

    def error_body(self, error: FairleadError, request_id: str) -> bytes:
        """The JSON error body of this dialect."""
        ...

    def error_event(self, error: FairleadError, request_id: str) -> bytes:
        """SSE bytes that end a stream with an error that the dialect's SDKs raise."""
        ...

    def heartbeat(self) -> bytes:
        """SSE bytes that keep a connection alive and that the dialect's SDKs ignore."""
        ...
