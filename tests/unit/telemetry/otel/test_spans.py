"""Spans of records: names, times, links and what they must not hold."""

from __future__ import annotations

import msgspec
from hypothesis import given
from tests.unit.telemetry.records import NOW, full_record, record, records

from fairlead.telemetry.metrics.conventions import Peer
from fairlead.telemetry.otel.spans import CLIENT, SERVER, Span, spans_of
from fairlead.types import Attempt, Failure, FailureKind, Outcome, Usage

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OWN = f"00-{TRACE}-00000000000000aa-01"
PEERS = {"lab": Peer(provider="vllm", address="gpu1", port=8000)}


def only(spans: list[Span], kind: int) -> Span:
    [found] = [span for span in spans if span.kind == kind]
    return found


def test_a_record_without_a_trace_has_no_spans() -> None:
    assert spans_of(record(), PEERS) == []


def test_a_call_to_a_model_is_a_child_with_the_conventions_attributes() -> None:
    attempt = Attempt(
        target="lab/small-1",
        started_s=0.25,
        connect_s=0.125,
        headers_s=0.5,
        first_token_s=0.75,
        ended_s=1.25,
        status=200,
        usage=Usage(
            input_tokens=10, output_tokens=5, cache_read_tokens=4, cache_write_tokens=3, reasoning_tokens=2
        ),
        cost_microusd=1500,
        span_id="00000000000000bb",
    )

    span = only(
        spans_of(record(trace=OWN, stream=True, attempts=(attempt,), finish_reason="stop"), PEERS), CLIENT
    )

    assert span.name == "chat small-1"
    assert (span.trace_id, span.span_id, span.parent_id) == (TRACE, "00000000000000bb", "00000000000000aa")
    assert not span.remote
    assert span.start_ns == int((NOW + 0.25) * 1e9)
    assert span.end_ns - span.start_ns == 10**9
    assert span.error == ""
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "small-1",
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.5,
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.cache_creation.input_tokens": 3,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "http.response.status_code": 200,
        "server.address": "gpu1",
        "server.port": 8000,
        "fairlead.target": "lab/small-1",
        "fairlead.connect_seconds": 0.125,
        "fairlead.attempt.cost_usd": 0.0015,
    }


def test_a_failed_attempt_says_how_and_not_what_the_upstream_wrote() -> None:
    failure = Failure(kind=FailureKind.RATE_LIMITED, message="you said: my secret", status=429)
    attempt = Attempt(
        target="lab/small-1", started_s=0, ended_s=1, status=429, failure=failure, span_id="00000000000000bb"
    )

    span = only(spans_of(record(trace=OWN, attempts=(attempt,)), PEERS), CLIENT)

    assert span.error == "rate_limited"
    assert dict(span.attributes)["error.type"] == "rate_limited"
    assert "secret" not in str(span)


def test_the_request_is_the_clients_child() -> None:
    client = f"00-{TRACE}-00f067aa0ba902b7-01"

    span = only(spans_of(record(trace=OWN, trace_parent=client, trace_state="a=1"), PEERS), SERVER)

    assert span.parent_id == "00f067aa0ba902b7"
    assert span.remote
    assert span.state == "a=1"
    assert span.name == "chat small"


def test_usage_stands_on_attempts_alone() -> None:
    span = only(spans_of(msgspec.structs.replace(full_record(), trace=OWN), PEERS), SERVER)

    said = dict(span.attributes)
    assert not any(name.startswith("gen_ai.usage") for name in said)
    assert said["fairlead.tokens.input"] == 100
    assert said["fairlead.cost_usd"] == 0.0042
    assert said["fairlead.tenant"] == "acme"
    assert said["fairlead.key.id"] == "key1"
    assert said["fairlead.queue_seconds"] == 0.01
    assert said["fairlead.fallback"] == "larger"
    assert said["fairlead.cache"] == "stale"
    assert span.error == said["error.type"] == "upstream_cut"


def test_an_answer_from_the_cache_has_no_call_and_is_our_own() -> None:
    [span] = spans_of(record(trace=OWN, attempts=(), target="", cache="hit"), PEERS)

    said = dict(span.attributes)
    assert said["gen_ai.provider.name"] == "fairlead"
    assert said["fairlead.cache"] == "hit"


def test_a_clients_mistake_is_no_error_of_the_server() -> None:
    [span] = spans_of(
        record(trace=OWN, attempts=(), outcome=Outcome.REFUSED, status=401, error="unauthenticated"), PEERS
    )

    assert span.error == ""
    assert dict(span.attributes)["error.type"] == "unauthenticated"


def test_what_was_counted_here_is_said_to_be() -> None:
    attempt = Attempt(
        target="other/x",
        started_s=0,
        usage=Usage(input_tokens=1, output_tokens=1),
        usage_estimated=True,
        model="asked\nfor",
        span_id="00000000000000bb",
    )

    said = dict(only(spans_of(record(trace=OWN, attempts=(attempt,)), PEERS), CLIENT).attributes)

    assert said["fairlead.usage.estimated"] is True
    assert said["gen_ai.request.model"] == "asked?for"
    assert "server.address" not in said


@given(records)
def test_any_record_has_spans_that_end_after_they_begin(one: object) -> None:
    spans = spans_of(msgspec.structs.replace(one, trace=OWN), PEERS)  # type: ignore[type-var]  # a record

    assert len(spans) == 1  # the generated attempts have no ids
    for span in spans:
        assert span.end_ns >= span.start_ns
        assert span.name.isprintable()
