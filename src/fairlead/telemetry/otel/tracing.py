"""The sink that turns records into spans, where their traces are sampled.

Spans are made when the request is over, with the times of its record and the
ids that it had on its way: the path of a request knows nothing of OpenTelemetry.
A span is encoded at once, in about 15 microseconds; one that holds content is
encoded when it is sent, on a thread, because redaction takes longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import msgspec

from fairlead.telemetry.metrics.conventions import Peer
from fairlead.telemetry.otel.content import Content, Contents
from fairlead.telemetry.otel.lane import Deferred, Lane
from fairlead.telemetry.otel.messages import answer_attributes, request_attributes
from fairlead.telemetry.otel.spans import Span, spans_of
from fairlead.types import RequestRecord


class Tracing:
    """Makes spans of records; a sink of the recorder."""

    def __init__(
        self,
        lane: Lane,
        encode: Callable[[Span], bytes],
        peers: Callable[[], Mapping[str, Peer]],
        *,
        contents: Contents | None = None,
        redact: Callable[[str], str] = str,
        max_content_bytes: int = 0,
    ) -> None:
        """Join the parts.

        Args:
            lane: where spans wait for the collector.
            encode: makes a span ready to be sent.
            peers: the configured providers, by name.
            contents: what was said in requests; None when no span holds it.
            redact: takes out of a text what must not be exported.
            max_content_bytes: of a prompt's text, and of an answer's.
        """
        self._lane = lane
        self._encode = encode
        self._peers = peers
        self._contents = contents
        self._redact = redact
        self._max_content_bytes = max_content_bytes

    @property
    def backlog(self) -> int:
        """Always 0: a collector that is slow must not stop the gateway."""
        return 0

    async def commit(self) -> None:
        """Nothing to do: the spans are sent in the background."""

    def take(self, records: Iterator[RequestRecord]) -> None:
        """Make the spans of each record whose trace is sampled."""
        peers = self._peers()
        for record in records:
            if not record.trace.endswith("1"):
                continue
            content = self._contents.release(record.id) if self._contents is not None else None
            spans = spans_of(record, peers)
            if content is not None:
                # With the call that answered; with the request where the cache did.
                last = spans.pop()
                size = len(content.request) + len(content.answer)
                encode = partial(self._with_content, last, content)
                self._lane.put(Deferred(size_bytes=size, encode=encode))
            for span in spans:
                self._lane.put(self._encode(span))

    def _with_content(self, span: Span, content: Content) -> bytes:
        most = self._max_content_bytes
        attributes = [
            *span.attributes,
            *request_attributes(content.request, self._redact, most),
            *answer_attributes(content.answer, self._redact, most),
        ]
        return self._encode(msgspec.structs.replace(span, attributes=list(dict(attributes).items())))
