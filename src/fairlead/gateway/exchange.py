"""The one mutable object of a request: what is known of it so far, and its record at the end."""

from __future__ import annotations

import itertools
import math
import os
import time
from bisect import bisect_left
from typing import Final, Protocol

from fairlead.cache.flight import Flight
from fairlead.errors import FairleadError, NotCached
from fairlead.gateway.attempt import UpstreamCall
from fairlead.gateway.router import Route, Target
from fairlead.gateway.sample import Sample
from fairlead.limits.flows import Flow
from fairlead.limits.limiter import Permit
from fairlead.net.server import Call
from fairlead.providers.table import Api
from fairlead.telemetry.anatomy import Split, split
from fairlead.telemetry.otel.trace_context import Trace
from fairlead.telemetry.scrapers.engine import EngineMeans
from fairlead.types import (
    GIVEN_AGAIN,
    ITL_BOUNDS_S,
    STALL_S,
    Attempt,
    EngineTimes,
    LimitFact,
    Outcome,
    RequestRecord,
    Usage,
)

_FAILED: Final = Outcome.FAILED  # an enum's attribute costs as much as a call


class RequestIds:
    """Request ids: time first, so that the ledger's index grows at its end; then process and count."""

    __slots__ = ("_next", "_prefix", "_process", "_second")

    def __init__(self) -> None:
        self._process = os.urandom(5).hex()
        self._next = itertools.count(1).__next__
        self._second = 0
        self._prefix = ""

    def __call__(self) -> str:
        """A new id: seconds since 1970, a random mark of the process, a counter; all hexadecimal."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._prefix = f"req_{second:09x}{self._process}"
        return "%s%07x" % (self._prefix, self._next() & 0xFFFFFFF)  # noqa: UP031 - half the time of an f-string


def second_of(request_id: str) -> int | None:
    """The second since 1970 in which an id was made; None when it is not one of ours."""
    try:
        return int(request_id[4:13], 16) if request_id.startswith("req_") and len(request_id) == 30 else None
    except ValueError:
        return None


class Lookup(Protocol):
    """Whoever wants to see what goes to the client."""

    def capture(self, data: bytes) -> None:
        """A piece of the stream is sent."""
        ...


class Answerer(Protocol):
    """Where an answer goes: the client's `Call`, or whoever shares it."""

    started: bool
    bytes_out: int

    @property
    def congested(self) -> bool:
        """Whoever reads is slower than we write: `drain` would wait."""
        ...

    async def drain(self) -> None:
        """Wait for the reader."""
        ...

    def quiet(self) -> None:
        """Stop showing signs of life."""
        ...

    def reply(self, status: int, headers: bytes, body: bytes) -> None:
        """Send a whole answer."""
        ...

    def start(self, status: int, headers: bytes, length: int | None = None) -> None:
        """Begin a stream."""
        ...

    def write(self, data: bytes) -> None:
        """Send a piece of it."""
        ...

    def end(self) -> None:
        """End it."""
        ...


class Exchange:
    """One request under way.

    Times are `time.monotonic()`; durations in the record count from `started`.
    """

    # Defaults of the class: an exchange sets what it comes to know, and that is little for most.
    stream = False
    model = ""
    tenant = ""
    key_id = ""
    route: Route | None = None
    target: Target | None = None
    ignored: tuple[str, ...] = ()
    bytes_in = 0
    """Of a streamed body; 0 when `body` holds it."""
    patience_s = 1800.0
    """How long the client waits for an answer, or for the next piece of one."""
    queue_s = 0.0
    connect_s = 0.0
    sent = 0.0
    """When the first upstream was asked; 0.0 before."""
    waited_s = 0.0
    """The part of `queue_s` before that."""
    asked = 0.0
    """When the upstream that answers was asked."""
    headers_at = 0.0
    first_token = 0.0
    last_token = 0.0
    chunks = 0
    relayed = 0
    """Content events of earlier attempts, when a cut stream is continued."""
    itl_counts: list[int] | None = None
    itl_sum_s = 0.0
    itl_max_s = 0.0
    _notable_s = 0.0
    """No gap up to here is the longest one so far, or a stall."""
    stall_s = STALL_S
    """A gap of that length is a stall."""
    stalls = 0
    stalled_s = 0.0
    engine: EngineTimes | None = None
    """What the engine says of its own work."""
    usage: Usage | None = None
    usage_estimated = False
    finish_reason = ""
    status = 0
    """Sent to the client; 0 where nobody decided: heartbeats began a 200, or nothing was sent."""
    outcome = _FAILED
    error = ""
    trace_parent = ""
    trace: Trace | None = None
    """Its place in a trace; None while no spans are made."""
    client_retry = 0
    permit: Permit | None = None
    """What was reserved of the tenants' limits, until it is settled."""
    limits: tuple[LimitFact, ...] = ()
    rate_headers = b""
    """Lines that tell the client how its rates stand."""
    cache = ""
    """What the cache did; see `RequestRecord.cache`."""
    cache_headers = b""
    """Lines that tell the client so."""
    kept: Lookup | None = None
    """Keeps what is relayed of a stream; None for nobody."""
    flight: Flight | None = None
    """The shared answer that this request's call to a model fills; it may go on after the client has left."""
    sample: Sample | None = None
    """What is held of its answer for semantic metrics; None when it is not looked at."""
    saved_tokens = 0
    saved_microusd: int | None = None
    """What the answer from the cache cost when the model made it."""
    saved_gpu_s = 0.0
    flow: Flow | None = None
    """Its place in the fair queues."""
    queued = False
    """A fair queue was on the way."""

    def __init__(self, id: str, call: Call, api: Api) -> None:
        self.id = id
        self.call = call
        self.out: Answerer = call
        """Where the model's answer goes."""
        self.api = api
        self.body = call.body
        self.started = time.monotonic()
        self.started_at = time.time()
        self.deadline = self.started + 1800.0
        self.attempts: list[Attempt] = []

    def tokens_arrived(self, count: int, now: float) -> None:
        """`count` content events arrived together at `now`."""
        last = self.last_token
        self.last_token = now
        self.chunks += count
        if not last:
            count -= 1
            if not count:
                return
            gap = 0.0
        else:
            gap = now - last
        counts = self.itl_counts
        if counts is None:
            counts = self.itl_counts = [0] * (len(ITL_BOUNDS_S) + 1)
        counts[bisect_left(ITL_BOUNDS_S, gap)] += 1
        self.itl_sum_s += gap
        if gap > self._notable_s:
            self._longest(gap)
        if count > 1:
            # Events that share a packet came without a gap.
            counts[0] += count - 1

    def _longest(self, gap: float) -> None:
        """The longest gap so far, or one of several stalls."""
        if gap > self.itl_max_s:
            self.itl_max_s = gap
        if gap >= self.stall_s:
            self.stalls += 1
            self.stalled_s += gap
        # One comparison for both, as nearly every gap is neither.
        self._notable_s = min(self.itl_max_s, math.nextafter(self.stall_s, 0.0))

    def adopt(self, call: UpstreamCall) -> None:
        """`call` answers: what it measured is the request's now."""
        self.target = call.target
        self.connect_s += call.connect_s
        if not self.headers_at:
            self.asked = call.started
            self.headers_at = call.headers
            self.first_token = call.first_token
        self.ignored = call.ignored

    def client_gone(self) -> None:
        """The client has left before the end."""
        self.outcome = Outcome.CLIENT_GONE
        if self.usage is None:
            # Nothing was relayed yet; what was asked for has its price all the same.
            for attempt in self.attempts:
                if attempt.failure is None and attempt.usage is not None and not attempt.hedge:
                    self.usage, self.usage_estimated = attempt.usage, attempt.usage_estimated
        if not self.call.started:
            self.status = 499

    def failed(self, error: FairleadError) -> None:
        """Note how the request ends, from the error that ends it."""
        self.error = error.code
        if self.call.started:
            self.outcome = Outcome.CUT if self.chunks or self.first_token else Outcome.FAILED
        else:
            self.status = error.status
            if error.status >= 500 and not isinstance(error, NotCached):
                self.outcome = Outcome.FAILED
            elif self.attempts:
                self.outcome = Outcome.UPSTREAM_REFUSED
            else:
                self.outcome = Outcome.REFUSED

    @property
    def saved(self) -> bool:
        """The cache has answered: a request that counts, though it used nothing."""
        return self.cache in GIVEN_AGAIN

    def cost_microusd(self) -> int | None:
        """What all attempts cost together; None when that is not known of any that used something."""
        cost: int | None = None
        unpriced = False
        for attempt in self.attempts:
            if attempt.cost_microusd is not None:
                cost = attempt.cost_microusd + (cost or 0)
            elif attempt.usage is not None:
                unpriced = True
        # A failed attempt that cost nothing must not make one without a price look free.
        return None if unpriced and not cost else cost

    def record(self) -> RequestRecord:
        """Everything known, once the request has ended."""
        started = self.started
        now = time.monotonic()
        counts = self.itl_counts
        target = self.target
        engine_queue_s = prefill_s = network_s = 0.0
        decode_s = self.itl_sum_s
        source = ""
        means = target.load_state.engine if target is not None else None
        if (means is not None or self.engine is not None) and self.attempts:
            found = self._split(means)
            engine_queue_s, prefill_s = found.engine_queue_s, found.prefill_s
            decode_s, network_s, source = found.decode_s, found.network_s, found.source
        # By position, in the order of the fields; see RequestRecord.
        return RequestRecord(
            self.id,
            self.started_at,
            self.api.scope,
            self.api.dialect_name,
            self.outcome,
            self.status or (200 if self.call.started else 500),
            self.tenant,
            self.key_id,
            self.model,
            target.name if target is not None else "",
            self.stream,
            self.error or (FairleadError.code if self.outcome is _FAILED else ""),
            self.queue_s,
            self.connect_s,
            self.headers_at - started if self.headers_at else 0.0,
            self.first_token - started if self.first_token else 0.0,
            now - started,
            (self.sent - self.waited_s if self.sent else now - self.queue_s) - started,
            self.usage or Usage(),
            self.usage_estimated,
            self.chunks,
            tuple(counts) if counts is not None else (),
            self.itl_sum_s,
            self.itl_max_s,
            self.bytes_in or len(self.body),
            self.call.bytes_out,
            tuple(self.attempts),
            self.finish_reason,
            self.trace_parent,
            self.client_retry,
            self.cost_microusd(),
            self.limits,
            self.flow.band.name.lower() if self.queued and self.flow is not None else "",
            self.route.name if self.route is not None and self.route.name != self.model else "",
            self.cache,
            self.saved_tokens,
            self.saved_microusd,
            engine_queue_s,
            prefill_s,
            decode_s,
            network_s,
            self.stalls,
            self.stalled_s,
            source,
            self.trace.parent() if self.trace is not None else "",
            self.trace.state if self.trace is not None else "",
            self.saved_gpu_s,
        )

    def _split(self, means: EngineMeans | None) -> Split:
        """What the time at the upstream consists of, by what the engine says."""
        begun = self.asked - self.started + self.connect_s
        return split(
            upstream_s=self.attempts[-1].ended_s - begun,
            first_s=self.first_token - self.started - begun if self.stream else 0.0,
            tokens_s=self.itl_sum_s,
            output_tokens=self.usage.output_tokens if self.usage is not None else 0,
            engine=self.engine,
            means=means,
        )
