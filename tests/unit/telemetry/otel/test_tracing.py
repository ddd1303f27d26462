"""The sink of spans takes what is sampled, with content where it was held."""

from __future__ import annotations

import json

from tests.unit.telemetry.records import record

from fairlead.telemetry.metrics.conventions import Peer
from fairlead.telemetry.otel.content import Contents
from fairlead.telemetry.otel.lane import Deferred, Lane
from fairlead.telemetry.otel.spans import Span
from fairlead.telemetry.otel.tracing import Tracing
from fairlead.types import Attempt

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED, UNSAMPLED = (f"00-{TRACE}-00000000000000aa-{flag}" for flag in ("01", "00"))
CALL = Attempt(target="lab/small-1", started_s=0, ended_s=1, span_id="00000000000000bb")
PEERS = {"lab": Peer(provider="vllm", address="gpu1", port=8000)}
REQUEST = b'{"messages":[{"role":"user","content":"hi"}]}'
ANSWER = b'{"id":"x1","choices":[{"message":{"content":"hello"},"finish_reason":"stop"}]}'


class Encoded:
    """Stands for the wire format: a span's name and id, and the spans themselves."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def __call__(self, span: Span) -> bytes:
        self.spans.append(span)
        return f"{span.name} {span.span_id}".encode()


def lane() -> Lane:
    return Lane("traces", max_items=100, max_bytes=100_000)


def test_only_sampled_records_become_spans() -> None:
    waiting = lane()
    sink = Tracing(waiting, Encoded(), lambda: PEERS)

    sink.take(
        iter(
            [
                record(1, trace=SAMPLED, attempts=(CALL,)),
                record(2, trace=UNSAMPLED, attempts=(CALL,)),
                record(3, attempts=(CALL,)),
            ]
        )
    )

    assert waiting.take(9, 9999) == [b"chat small 00000000000000aa", b"chat small-1 00000000000000bb"]
    assert sink.backlog == 0


def test_content_goes_with_the_call_that_answered_and_is_read_later() -> None:
    contents = Contents(max_content_bytes=1000)
    one = record(1, trace=SAMPLED, attempts=(CALL,))
    tap = contents.hold(one.id, REQUEST)
    assert tap is not None
    tap(ANSWER)
    waiting, encoded = lane(), Encoded()

    Tracing(
        waiting, encoded, lambda: PEERS, contents=contents, redact=str.upper, max_content_bytes=1000
    ).take(iter([one]))

    assert [span.span_id for span in encoded.spans] == ["00000000000000aa"]
    assert contents.release(one.id) is None
    [later] = [item for item in waiting.take(9, 9999) if isinstance(item, Deferred)]
    assert later.size_bytes == len(REQUEST) + len(ANSWER)
    later.encode()
    said = dict(encoded.spans[-1].attributes)
    assert encoded.spans[-1].span_id == "00000000000000bb"
    assert json.loads(str(said["gen_ai.input.messages"]))[0]["parts"][0]["content"] == "HI"
    assert json.loads(str(said["gen_ai.output.messages"]))[0]["parts"][0]["content"] == "HELLO"
    assert said["gen_ai.response.id"] == "X1"
    assert said["gen_ai.request.model"] == "small-1"


def test_an_answer_from_the_cache_has_its_content_with_the_request() -> None:
    contents = Contents(max_content_bytes=1000)
    one = record(1, trace=SAMPLED, attempts=(), target="", cache="hit")
    contents.hold(one.id, REQUEST)
    waiting, encoded = lane(), Encoded()

    Tracing(waiting, encoded, lambda: PEERS, contents=contents, max_content_bytes=1000).take(iter([one]))

    [later] = waiting.take(9, 9999)
    assert isinstance(later, Deferred)
    assert later.encode() == b"chat small 00000000000000aa"
    assert "gen_ai.input.messages" in dict(encoded.spans[-1].attributes)
