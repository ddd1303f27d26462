"""Data that two or more features share.

Everything here is a plain value: no I/O, no clock. Times called `*_at` are
Unix seconds; `*_s` are durations in seconds. Money is integer micro-dollars.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

Headers = list[tuple[bytes, bytes]]
"""Header fields in order, names in lower case."""

ITL_BOUNDS_S: Final = (
    0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.06, 0.08, 0.1, 0.16, 0.2,
    0.32, 0.4, 0.64, 0.8, 1.28, 1.6, 2.56, 4.0, 5.12, 10.24, 20.48, 40.96, 81.92,
)  # fmt: skip
"""Upper bounds of the inter-token gap histogram; one more bucket holds the rest. Fine enough for an engine's
steps, and with OpenTelemetry's bounds of `gen_ai.client.operation.time_per_output_chunk` among them."""

STALL_S: Final = 1.0
"""A gap between two content events that is at least this long is a stall, unless configured otherwise."""


GIVEN_AGAIN: Final = frozenset({"hit", "semantic", "coalesced", "stale"})
"""What the cache did where no model was asked for this request: it had the answer, or to a question that
means the same, or shared that of another request under way, or gave an expired one in an outage."""


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """Tokens of one call, with one meaning for every provider.

    `input_tokens` includes the cached ones and those written to a cache, audio
    and images; `output_tokens` includes reasoning, audio and images. This is
    OpenAI's convention; Anthropic reports cached tokens apart and is converted
    by its codec.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    """The part of `cache_write_tokens` with a lifetime of an hour."""
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    cache_read_audio_tokens: int = 0
    """The part of `cache_read_tokens` that is audio, where the provider tells."""
    image_input_tokens: int = 0
    image_output_tokens: int = 0
    audio_s: float = 0.0
    """Length of the audio, from providers that bill seconds."""
    service_tier: str = ""
    """What was served, where it is not the ordinary tier: `flex`, `priority`, `batch`, ...; it decides
    the prices. What combines is joined by `+`, as in `fast+us`."""

    def __add__(self, other: Usage) -> Usage:
        """Both together; of two tiers the later one."""
        summed = {
            name: getattr(self, name) + getattr(other, name)
            for name in self.__struct_fields__
            if name != "service_tier"
        }
        return Usage(**summed, service_tier=other.service_tier or self.service_tier)


class EngineTimes(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What an engine says of its own work on one request, in seconds. None is what it does not say."""

    queue_s: float | None = None
    """Until it was scheduled."""
    prefill_s: float | None = None
    """From then to the first token."""
    decode_s: float | None = None
    """From the first token to the last; of an engine that does not tell them apart, prefill included."""


class FailureKind(enum.StrEnum):
    """What went wrong with one attempt, in the terms that decide what happens next."""

    UNREACHABLE = "unreachable"  # refused, no route, DNS: nothing was sent
    TLS = "tls"
    TIMEOUT = "timeout"  # no headers, no first token, stalled
    TOO_SLOW = "too_slow"  # under the configured tokens/s floor before commit
    DISCONNECTED = "disconnected"  # closed before any byte of an answer
    CUT = "cut"  # ended in the middle of an answer
    EMPTY = "empty"  # a 200 without content, or a stream without an event
    BAD_ANSWER = "bad_answer"  # not HTTP, not JSON, not the dialect
    SERVER_ERROR = "server_error"
    OVERLOADED = "overloaded"  # 503, 529
    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"  # provider account out of credit
    AUTH = "auth"  # our upstream credential was refused
    NOT_FOUND = "not_found"  # the upstream does not know the model
    INVALID_REQUEST = "invalid_request"
    CONTEXT_WINDOW = "context_window"
    CONTENT_POLICY = "content_policy"
    UNSUPPORTED = "unsupported"  # this dialect cannot carry the request


class Failure(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One failed attempt, as the upstream or the transport reported it."""

    kind: FailureKind
    message: str
    status: int | None = None
    """The upstream's HTTP status; None when there was none."""
    code: str | None = None
    """The upstream's own error code or type."""
    param: str | None = None
    retry_after_s: float | None = None


class LimitFact(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """How one limit stood when a request asked for admission, and what it said."""

    limit: str
    """Its id, such as `acme/gpt-5/tokens` or `key:3f8a01Bc/usd:month`."""
    verdict: str = "admitted"
    """`admitted`, `refused`, or `shadowed`: it would have refused, but only counts."""
    amount: int = 0
    """Requests or tokens per minute, micro-dollars per window, or places."""
    used: int = 0
    """With what this request reserved, if it was admitted."""
    asked: int = 0
    """What this request wanted, where it was (or would have been) refused."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One call to one target on behalf of a request. Offsets count from the request's start."""

    target: str
    started_s: float
    connect_s: float = 0.0
    """Time spent on a new connection; 0.0 when a pooled one was used."""
    headers_s: float | None = None
    first_token_s: float | None = None
    ended_s: float = 0.0
    status: int | None = None
    failure: Failure | None = None
    usage: Usage | None = None
    hedge: bool = False
    cost_microusd: int | None = None
    """What `usage` costs at this target's prices; None without prices or usage."""
    model: str = ""
    """The upstream's model name, where the target does not name it."""
    priced_by: str = ""
    """What priced it: the version of a price table, or `config`; "" where nothing did."""
    usage_estimated: bool = False
    """`usage` was counted here, because the upstream reported none or not all."""
    span_id: str = ""
    """Of its span, as the upstream was told in `traceparent`; "" without traces."""


class Outcome(enum.StrEnum):
    """How a request ended, from the client's point of view."""

    OK = "ok"
    REFUSED = "refused"  # by us: key, scope, limit, invalid request
    UPSTREAM_REFUSED = "upstream_refused"  # a 4xx that the client must mend
    FAILED = "failed"  # an error instead of an answer
    CUT = "cut"  # an answer began and ended with an error
    CLIENT_GONE = "client_gone"


class RequestRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Everything the platform knows of one request; emitted once, in every case.

    Not `kw_only`, for the one place that makes one for every request: by position that takes a tenth
    of the time. New fields go to the end.
    """

    id: str
    started_at: float
    endpoint: str
    """The API asked for: `chat`, `completions`, `messages`, `responses`, `embeddings`, ..."""
    dialect: str
    """The client's dialect: `openai`, `responses` or `anthropic`."""
    outcome: Outcome
    status: int
    """The HTTP status sent to the client; 499 when it left before one was sent."""
    tenant: str = ""
    key_id: str = ""
    model: str = ""
    """The model name asked for; "" when no route knows it, so that labels stay bounded."""
    target: str = ""
    """The target that answered, as `provider/model`."""
    stream: bool = False
    error: str = ""
    """The error's `code`; "" when there was none."""
    queue_s: float = 0.0
    connect_s: float = 0.0
    headers_s: float = 0.0
    """Until the upstream's response headers, from the request's start."""
    first_token_s: float = 0.0
    duration_s: float = 0.0
    overhead_s: float = 0.0
    """Time the gateway itself added before the upstream was asked."""
    usage: Usage = Usage()
    usage_estimated: bool = False
    """True when the upstream reported no usage and tokens were counted from the stream."""
    chunks: int = 0
    """Content events relayed; for most engines one is one token."""
    itl_counts: tuple[int, ...] = ()
    """Histogram of gaps between content events over `ITL_BOUNDS_S`."""
    itl_sum_s: float = 0.0
    itl_max_s: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    attempts: tuple[Attempt, ...] = ()
    finish_reason: str = ""
    trace_parent: str = ""
    """The client's W3C `traceparent`, if it sent a valid one."""
    client_retry: int = 0
    """The client's own retry counter (`x-stainless-retry-count`)."""
    cost_microusd: int | None = None
    """What all attempts cost together, in micro-dollars; None when none of them has prices."""
    limits: tuple[LimitFact, ...] = ()
    """The limits on this request's way, from the root of the tenants down to the key."""
    priority: str = ""
    """The band of the fair queue; "" when no queue was on the way."""
    fallback: str = ""
    """The model that was asked last, when it was a fallback of the one asked for."""
    cache: str = ""
    """What the cache did: one of `GIVEN_AGAIN`, `miss` or `bypass`; "" when it had no say."""
    saved_tokens: int = 0
    """Tokens of an answer from the cache, input and output, that no model had to compute."""
    saved_microusd: int | None = None
    """What they cost when the model was asked; None when nobody knows or nothing was saved."""
    engine_queue_s: float = 0.0
    """Time in the engine's own queue, as `engine_source` tells it; see `telemetry.anatomy`."""
    prefill_s: float = 0.0
    """Time from there to the first token, in the engine."""
    decode_s: float = 0.0
    """Time from the first token to the last: the engine's, else as measured of a stream."""
    network_s: float = 0.0
    """What is left of the time at the upstream: both ways, its HTTP server, a client that reads slowly."""
    stalls: int = 0
    """Gaps between content events that were at least `telemetry.stall_s` long."""
    stalled_s: float = 0.0
    """How long they were together."""
    engine_source: str = ""
    """Where the engine's times are from: its `response`, its `histogram`s (means), or nowhere: ""."""
    trace: str = ""
    """The W3C context of the gateway's own span of the request, as a `traceparent`; "" without traces."""
    trace_state: str = ""
    """The client's `tracestate`, which goes with it."""
    saved_gpu_s: float = 0.0
    """Seconds of GPU time that the answer from the cache took when the model made it, where that is known."""

    @property
    def trace_id(self) -> str:
        """The trace that the request belongs to, the client's or our own; "" when there is none."""
        return (self.trace or self.trace_parent)[3:35]


class EvaluationResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one evaluation says of one answer; OpenTelemetry's event `gen_ai.evaluation.result`."""

    name: str
    """Which evaluation: `refusal`, `drift`, `consistency`, ..."""
    at: float
    score: float | None = None
    label: str = ""
    """The score in a word, such as `refused` or `pass`."""
    explanation: str = ""
    """May quote the answer; it is exported only where content is."""
    request_id: str = ""
    response_id: str = ""
    """The answer's own id; the request's when left out."""
    trace: str = ""
    """`RequestRecord.trace` of the request, so that the event is found with its span."""
    operation: str = ""
    """OpenTelemetry's name of the operation, such as `chat`."""
    model: str = ""
    tenant: str = ""
    error: str = ""
    """Why there is no score, in a word."""
