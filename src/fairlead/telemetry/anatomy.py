"""Where a request's time went: its duration, split.

`split` divides the time at the upstream between what the engine did and the
way there and back; `anatomy` divides the whole of a finished request. Both
are pure. The parts of an anatomy add up to the duration, always: what an
engine says of itself is scaled down where it exceeds what was measured, and
the rest is the gateway's own.

| Part | From | To |
|---|---|---|
| `gateway_queue_s` | waiting for a place at a target | a place |
| `retries_s` | the first target is asked | the one that answers is asked; waits for a place apart |
| `connect_s` | a new connection is wanted | it stands, TLS included; 0 for a pooled one |
| `engine_queue_s` | the engine has the request | it is scheduled |
| `prefill_s` | it is scheduled | the first token |
| `decode_s` | the first token | the last |
| `network_s` | what remains of the time from sending the request to the answer's end | |
| `upstream_s` | the same, where the engine says nothing of itself | |
| `gateway_s` | all that remains | |

`network_s` is both ways on the wire, the engine's HTTP server and tokenizer,
its events after the last token, and a client that reads slowly.

The engine's parts come from its answer (`response`), or from the means of its
histograms between the last two scrapes (`histogram`), which say how requests
went at that time and not how this one did. Without either, only a stream
tells a part: its decode, from the first content event to the last.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fairlead.telemetry.metrics.histogram import quantile
from fairlead.telemetry.scrapers.engine import EngineMeans
from fairlead.types import ITL_BOUNDS_S, Attempt, EngineTimes, RequestRecord

RESPONSE: Final = "response"
HISTOGRAM: Final = "histogram"


class Split(msgspec.Struct, frozen=True):
    """What the time at an upstream consists of; the fields of `RequestRecord` of the same names."""

    engine_queue_s: float
    prefill_s: float
    decode_s: float
    network_s: float
    source: str


class Anatomy(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request's time went. The module's docstring defines each part; they add up to `duration_s`."""

    duration_s: float
    gateway_queue_s: float
    retries_s: float
    connect_s: float
    engine_queue_s: float
    prefill_s: float
    decode_s: float
    network_s: float
    upstream_s: float
    gateway_s: float
    engine_source: str
    """`response`, `histogram`, or empty: then `upstream_s` holds what cannot be told apart."""
    ttft_s: float | None
    """From the request's arrival to the first token of a stream."""
    itl_p50_s: float | None
    """Gaps between content events, from their histogram."""
    itl_p95_s: float | None
    itl_max_s: float | None
    """The largest gap, as it was."""
    stalls: int
    stalled_s: float
    tokens_per_s: float | None
    """Output tokens after the first one by the time they took."""

    def parts(self) -> tuple[tuple[str, float], ...]:
        """The parts in the order in which they happen, each with its seconds."""
        return tuple((name, getattr(self, f"{name}_s")) for name in PARTS)


PARTS: Final = (
    "gateway_queue", "retries", "connect", "engine_queue", "prefill", "decode", "network", "upstream",
    "gateway",
)  # fmt: skip
"""Names of an anatomy's parts, without `_s`."""


def split(
    *,
    upstream_s: float,
    first_s: float,
    tokens_s: float,
    output_tokens: int,
    engine: EngineTimes | None,
    means: EngineMeans | None,
) -> Split:
    """Divide the time at the upstream.

    Args:
        upstream_s: from sending the request to the end of the answer.
        first_s: from sending it to the first token of a stream; 0.0 of a whole answer.
        tokens_s: from a stream's first content event to its last.
        output_tokens: of the answer.
        engine: what the engine says of this request.
        means: what its histograms say of its requests lately; counts only without `engine`.
    """
    if engine is not None:
        queue, prefill = engine.queue_s or 0.0, engine.prefill_s or 0.0
        decode = tokens_s if engine.decode_s is None else engine.decode_s
        queue, prefill, decode = _within(upstream_s, queue, prefill, decode)
        source = RESPONSE
    elif means is None or (means.queue_s is None and means.prefill_s is None):
        return Split(0.0, 0.0, tokens_s, 0.0, "")
    else:
        queue, prefill = means.queue_s or 0.0, means.prefill_s or 0.0
        if first_s > 0:
            decode = min(tokens_s, upstream_s)
            queue, prefill = _within(min(first_s, upstream_s - decode), queue, prefill)
        else:
            decode = means.decode_s or 0.0
            if means.inter_token_s is not None and output_tokens:
                decode = means.inter_token_s * (output_tokens - 1)
            queue, prefill, decode = _within(upstream_s, queue, prefill, decode)
        source = HISTOGRAM
    return Split(queue, prefill, decode, max(upstream_s - queue - prefill - decode, 0.0), source)


def _within(limit_s: float, *parts: float) -> tuple[float, ...]:
    """The parts, scaled down together where they are more than `limit_s`."""
    limit_s = max(limit_s, 0.0)
    total = sum(parts)
    if total <= limit_s:
        return parts
    return tuple(part * limit_s / total for part in parts)


def anatomy(record: RequestRecord) -> Anatomy:
    """The split of a finished request."""
    left = [max(record.duration_s, 0.0)]

    def take(seconds: float) -> float:
        """So many of the seconds that nothing has taken yet."""
        taken = min(max(seconds, 0.0), left[0])
        left[0] -= taken
        return taken

    queue = take(record.queue_s)
    retries = connect = engine_queue = prefill = decode = network = upstream = 0.0
    if record.attempts:
        first, answering = _first(record), _answering(record)
        waited_later = record.queue_s - max(first.started_s - max(record.overhead_s, 0.0), 0.0)
        retries = take(answering.started_s - first.started_s - max(waited_later, 0.0))
        connect = take(record.connect_s or answering.connect_s)
        engine_queue, prefill = take(record.engine_queue_s), take(record.prefill_s)
        decode, network = take(record.decode_s), take(record.network_s)
        if not record.engine_source:
            ended = max(attempt.ended_s for attempt in record.attempts)
            upstream = take(ended - answering.started_s - connect - decode)
    streamed = record.stream and record.first_token_s > 0
    return Anatomy(
        duration_s=record.duration_s,
        gateway_queue_s=queue,
        retries_s=retries,
        connect_s=connect,
        engine_queue_s=engine_queue,
        prefill_s=prefill,
        decode_s=decode,
        network_s=network,
        upstream_s=upstream,
        gateway_s=left[0],
        engine_source=record.engine_source,
        ttft_s=record.first_token_s if streamed else None,
        itl_p50_s=_gap(record, 0.5),
        itl_p95_s=_gap(record, 0.95),
        itl_max_s=record.itl_max_s if record.itl_counts else None,
        stalls=record.stalls,
        stalled_s=record.stalled_s,
        tokens_per_s=tokens_per_s(record),
    )


def tokens_per_s(record: RequestRecord) -> float | None:
    """Output tokens after the first one by the time from the first content event to the last.

    None where there is no such time: the answer was not streamed, or came at once.
    """
    more = record.usage.output_tokens - 1
    return more / record.itl_sum_s if more > 0 and record.itl_sum_s > 0 else None


def _first(record: RequestRecord) -> Attempt:
    return min(record.attempts, key=lambda attempt: attempt.started_s)


def _answering(record: RequestRecord) -> Attempt:
    """The attempt whose answer the client got first; the last one when nobody answered."""
    for attempt in record.attempts:
        if attempt.first_token_s is not None and attempt.first_token_s == record.first_token_s:
            return attempt
    return record.attempts[-1]


def _gap(record: RequestRecord, q: float) -> float | None:
    if len(record.itl_counts) != len(ITL_BOUNDS_S) + 1:
        return None
    found = quantile(ITL_BOUNDS_S, record.itl_counts, q)
    # Interpolation within a bucket may pass the largest gap that there was.
    return None if found is None else min(found, record.itl_max_s)
