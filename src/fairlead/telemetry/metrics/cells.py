"""What records add up to, for each combination of labels: the cells that metrics are sums over.

Kept apart from the metrics so that a record costs a few additions, and the
many views of it (`prometheus`, `genai`) are made when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final

from fairlead.telemetry.metrics.conventions import DURATION_BOUNDS, PER_TOKEN_BOUNDS, TOKEN_BOUNDS
from fairlead.types import ITL_BOUNDS_S, Attempt, Outcome, RequestRecord

DURATION_BOUNDS_S: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56,
    5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68, 655.36,
)  # fmt: skip
"""Those of OpenTelemetry's `gen_ai.server.request.duration`, continued at both ends."""

TTFT_BOUNDS_S: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.25, 0.5, 0.75,
    1.0, 1.5, 2.5, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0, 120.0,
)  # fmt: skip
"""Those of OpenTelemetry's `gen_ai.server.time_to_first_token`, refined and continued."""

QUEUE_BOUNDS_S: Final = (
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip

OVERHEAD_BOUNDS_S: Final = (
    0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1,
)  # fmt: skip
RATE_BOUNDS: Final = (1, 2, 5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000)
"""Tokens a second."""

PHASES: Final = ("connect", "engine_queue", "prefill", "decode", "network")
"""Parts of an anatomy that are not told by another metric."""

ITL_BUCKETS: Final = len(ITL_BOUNDS_S) + 1

Key = tuple[str, str, str, str, int]
"""Model, target, endpoint, outcome, class of the status."""
AttemptKey = tuple[str, str, str, str]
"""Model, target, endpoint, and `ok` or the kind of failure."""

_OK: Final = Outcome.OK
_FEW: Final = 8


class Tally:
    """A histogram under way. What is put into `new` counts once `fold` is called."""

    __slots__ = ("bounds", "counts", "new", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total: float = 0
        self.new: list[float] = []

    def fold(self) -> None:
        """Count what is new. Many at once cost a third of one by one."""
        new, counts = self.new, self.counts
        if not new:
            return
        self.total += sum(new)
        if len(new) < _FEW:
            for value in new:
                counts[bisect_left(self.bounds, value)] += 1
        else:
            new.sort()
            before = 0
            for bucket, bound in enumerate(self.bounds):
                below = bisect_right(new, bound, before)
                counts[bucket] += below - before
                before = below
            counts[-1] += len(new) - before
        new.clear()


class Cell:
    """What the records of one key add up to."""

    __slots__ = (
        "answered", "cache_write", "cached", "duration", "input", "input_sizes", "itl", "itl_new", "itl_sum",
        "key", "output", "output_sizes", "per_token", "phases", "queue", "rate", "reasoning", "requests",
        "stalled_s", "stalls", "ttft", "unpriced",
    )  # fmt: skip

    def __init__(self, key: Key) -> None:
        self.key = key
        self.requests = self.unpriced = self.stalls = 0
        self.itl_sum = self.stalled_s = 0.0
        self.input = self.output = self.cached = self.cache_write = self.reasoning = 0
        self.itl = (0,) * ITL_BUCKETS
        self.itl_new: list[tuple[int, ...]] = []
        """Histograms to be added to `itl`."""
        self.duration = Tally(DURATION_BOUNDS_S)
        self.queue = Tally(QUEUE_BOUNDS_S)
        self.input_sizes = Tally(TOKEN_BOUNDS)
        self.output_sizes = Tally(TOKEN_BOUNDS)
        self.ttft = Tally(TTFT_BOUNDS_S)
        self.per_token = Tally(PER_TOKEN_BOUNDS)
        """Of answers that came whole: the mean time of a token after the first."""
        self.rate = Tally(RATE_BOUNDS)
        self.phases: dict[str, Tally] = {}
        self.answered: AttemptCell | None = None
        """Where the attempts that answered are counted, once there was one."""

    def count_stream(self, record: RequestRecord) -> None:
        """Count the times of a stream."""
        seconds = record.first_token_s
        if seconds > 0:
            self.ttft.new.append(seconds)
        if len(record.itl_counts) == ITL_BUCKETS:
            self.itl_new.append(record.itl_counts)
            seconds = record.itl_sum_s
            self.itl_sum += seconds
            more = record.usage.output_tokens - 1
            if more > 0 and seconds > 0:
                self.rate.new.append(more / seconds)
                if record.outcome is _OK:
                    self.per_token.new.append(seconds / more)
            if record.stalls:
                self.stalls += record.stalls
                self.stalled_s += record.stalled_s

    def count_phases(self, record: RequestRecord) -> None:
        """Count where the time at the upstream went."""
        if record.connect_s:
            self._phase("connect", record.connect_s)
        if record.engine_source:
            self._phase("engine_queue", record.engine_queue_s)
            self._phase("prefill", record.prefill_s)
            self._phase("decode", record.decode_s)
            self._phase("network", record.network_s)

    def _phase(self, name: str, seconds: float) -> None:
        tally = self.phases.get(name)
        if tally is None:
            tally = self.phases[name] = Tally(DURATION_BOUNDS_S)
        tally.new.append(seconds)

    def fold(self) -> None:
        """Count what is new."""
        self.duration.fold()
        self.queue.fold()
        self.input_sizes.fold()
        self.output_sizes.fold()
        self.ttft.fold()
        self.per_token.fold()
        self.rate.fold()
        for tally in self.phases.values():
            tally.fold()
        if self.itl_new:
            self.itl = tuple(map(sum, zip(self.itl, *self.itl_new, strict=True)))
            self.itl_new.clear()


class AttemptCell:
    """What the attempts of one key add up to."""

    __slots__ = ("duration", "first_chunk")

    def __init__(self) -> None:
        self.duration = Tally(DURATION_BOUNDS)
        self.first_chunk = Tally(DURATION_BOUNDS)

    def add(self, attempt: Attempt, *, streamed: bool) -> None:
        """Count one attempt, once `fold` is called."""
        started = attempt.started_s
        seconds = attempt.ended_s - started
        self.duration.new.append(seconds if seconds > 0 else 0.0)
        if streamed and attempt.first_token_s is not None:
            seconds = attempt.first_token_s - started
            self.first_chunk.new.append(seconds if seconds > 0 else 0.0)

    def fold(self) -> None:
        """Count what is new."""
        self.duration.fold()
        self.first_chunk.fold()
