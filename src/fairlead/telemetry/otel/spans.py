"""A request's record as spans: one of the request, one of each attempt. Pure.

The request's span is the gateway's own (SERVER); each attempt is a call to a
model (CLIENT) and its child. Usage stands on attempts alone, under OpenTelemetry's
names: whoever adds up a trace's tokens must not count them twice. What the
request took as a whole is `fairlead.*`.

Nothing here quotes a request, an answer or an upstream's message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from fairlead.telemetry.labels import clean
from fairlead.telemetry.metrics.conventions import Peer, model_of, operation_name, peer_of
from fairlead.types import Attempt, Outcome, RequestRecord

SERVER: Final = 2
CLIENT: Final = 3
"""Kinds of spans, as OTLP numbers them."""

OURSELVES: Final = "fairlead"
"""`gen_ai.provider.name` of answers that no target gave, as from the cache."""

Value = bool | str | int | float | tuple[str, ...]
Attributes = list[tuple[str, Value]]


class Span(msgspec.Struct, frozen=True, gc=False):
    """One span, complete."""

    trace_id: str
    span_id: str
    parent_id: str
    """"" for the root of a trace."""
    name: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: Attributes
    error: str = ""
    """`error.type`; "" where nothing went wrong."""
    state: str = ""
    remote: bool = False
    """The parent is another process' span."""
    sampled: bool = True


def spans_of(record: RequestRecord, peers: Mapping[str, Peer]) -> list[Span]:
    """The spans of a record, the request's first; none when it has no place in a trace.

    Args:
        record: with `trace`.
        peers: the configured providers, by name.
    """
    if not record.trace:
        return []
    operation = operation_name(record.endpoint)
    found = [_request_span(record, operation, peers)]
    found += [
        _attempt_span(record, attempt, operation, peers) for attempt in record.attempts if attempt.span_id
    ]
    return found


def _request_span(record: RequestRecord, operation: str, peers: Mapping[str, Peer]) -> Span:
    model = clean(record.model)
    start_ns = int(record.started_at * 1e9)
    error = record.error if record.outcome is not Outcome.OK else ""
    if record.outcome is Outcome.CLIENT_GONE and not error:
        error = "client_gone"
    return Span(
        record.trace[3:35],
        record.trace[36:52],
        record.trace_parent[36:52],
        f"{operation} {model}" if model else operation,
        SERVER,
        start_ns,
        start_ns + int(max(record.duration_s, 0.0) * 1e9),
        _of_request(record, operation, model, error, peers),
        # A client's mistake is not the server's error, says the convention of server spans.
        error if record.status >= 500 or record.outcome in _BROKEN else "",
        record.trace_state,
        bool(record.trace_parent),
        record.trace.endswith("01"),
    )


_BROKEN: Final = frozenset({Outcome.FAILED, Outcome.CUT})


def _of_request(
    record: RequestRecord, operation: str, model: str, error: str, peers: Mapping[str, Peer]
) -> Attributes:
    provider = peer_of(record.target, peers).provider if record.target else OURSELVES
    found: Attributes = [
        ("gen_ai.operation.name", operation),
        ("gen_ai.provider.name", provider),
        ("http.response.status_code", record.status),
        ("fairlead.request.id", record.id),
        ("fairlead.endpoint", record.endpoint),
        ("fairlead.dialect", record.dialect),
        ("fairlead.outcome", record.outcome.value),
        ("fairlead.attempts", len(record.attempts)),
        ("fairlead.overhead_seconds", max(record.overhead_s, 0.0)),
    ]
    usage = record.usage
    optional: tuple[tuple[str, Value | None], ...] = (
        ("gen_ai.request.model", model),
        ("error.type", error),
        ("gen_ai.response.finish_reasons", (record.finish_reason,) if record.finish_reason else None),
        ("fairlead.tenant", clean(record.tenant)),
        ("fairlead.key.id", clean(record.key_id)),
        ("fairlead.target", clean(record.target)),
        ("fairlead.cache", record.cache),
        ("fairlead.fallback", clean(record.fallback)),
        ("fairlead.priority", record.priority),
        ("fairlead.queue_seconds", record.queue_s),
        ("fairlead.first_token_seconds", record.first_token_s),
        ("fairlead.stalls", record.stalls),
        ("fairlead.client_retry", record.client_retry),
        ("fairlead.tokens.input", usage.input_tokens),
        ("fairlead.tokens.output", usage.output_tokens),
        ("fairlead.tokens.saved", record.saved_tokens),
        ("fairlead.saved_usd", record.saved_microusd / 1e6 if record.saved_microusd else None),
    )
    found += [(name, value) for name, value in optional if value]
    if record.stream:
        found.append(("gen_ai.request.stream", True))
    if record.cost_microusd is not None:
        found.append(("fairlead.cost_usd", record.cost_microusd / 1e6))
    return found


def _attempt_span(record: RequestRecord, attempt: Attempt, operation: str, peers: Mapping[str, Peer]) -> Span:
    model = clean(attempt.model or model_of(attempt.target, record.model))
    error = attempt.failure.kind.value if attempt.failure is not None else ""
    start_ns = int((record.started_at + attempt.started_s) * 1e9)
    return Span(
        record.trace[3:35],
        attempt.span_id,
        record.trace[36:52],
        f"{operation} {model}" if model else operation,
        CLIENT,
        start_ns,
        start_ns + int(max(attempt.ended_s - attempt.started_s, 0.0) * 1e9),
        _of_attempt(record, attempt, operation, model, error, peers),
        error,
        record.trace_state,
        False,
        record.trace.endswith("01"),
    )


def _of_attempt(
    record: RequestRecord, attempt: Attempt, operation: str, model: str, error: str, peers: Mapping[str, Peer]
) -> Attributes:
    peer = peer_of(attempt.target, peers)
    found: Attributes = [
        ("gen_ai.operation.name", operation),
        ("gen_ai.provider.name", peer.provider),
        ("fairlead.target", clean(attempt.target)),
    ]
    usage = attempt.usage
    answered = attempt.failure is None and attempt is record.attempts[-1]
    optional: tuple[tuple[str, Value | None], ...] = (
        ("gen_ai.request.model", model),
        ("server.address", peer.address),
        ("server.port", peer.port if peer.address else None),
        ("error.type", error),
        ("http.response.status_code", attempt.status),
        (
            "gen_ai.response.finish_reasons",
            (record.finish_reason,) if answered and record.finish_reason else None,
        ),
        ("fairlead.connect_seconds", attempt.connect_s),
        ("fairlead.hedge", attempt.hedge),
        ("fairlead.cost.priced_by", attempt.priced_by),
    )
    found += [(name, value) for name, value in optional if value]
    if record.stream:
        found.append(("gen_ai.request.stream", True))
        if attempt.first_token_s is not None:
            first_s = max(attempt.first_token_s - attempt.started_s, 0.0)
            found.append(("gen_ai.response.time_to_first_chunk", first_s))
    if attempt.cost_microusd is not None:
        found.append(("fairlead.attempt.cost_usd", attempt.cost_microusd / 1e6))
    if usage is not None:
        found.append(("gen_ai.usage.input_tokens", usage.input_tokens))
        found.append(("gen_ai.usage.output_tokens", usage.output_tokens))
        if usage.cache_read_tokens:
            found.append(("gen_ai.usage.cache_read.input_tokens", usage.cache_read_tokens))
        if usage.cache_write_tokens:
            found.append(("gen_ai.usage.cache_creation.input_tokens", usage.cache_write_tokens))
        if usage.reasoning_tokens:
            found.append(("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens))
        if attempt.usage_estimated:
            found.append(("fairlead.usage.estimated", True))
    return found
