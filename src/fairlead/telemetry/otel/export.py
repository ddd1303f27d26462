"""Sends what waits for the collector, in the background.

Rules: nothing here is awaited by a request. A request that fails is repeated
with growing pauses, its items going back to their place in the lane meanwhile,
so that what is dropped in a long outage is always the oldest. Failures are
counted, and logged once a minute. Metrics are totals: a failed export of them
loses nothing, the next has them all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from fairlead.telemetry.labels import clean
from fairlead.telemetry.otel.collector import Collector, Reply
from fairlead.telemetry.otel.lane import Item, Lane
from fairlead.telemetry.redact import redact

_log: Final = logging.getLogger(__name__)

_BATCH: Final = 512
_BATCH_BYTES: Final = 2 * 1024 * 1024
_PAUSE_S: Final = 1.0
"""How long the first item of a request waits for others."""
_FIRST_BACKOFF_S: Final = 1.0
_LONGEST_BACKOFF_S: Final = 30.0
_LOG_EVERY_S: Final = 60.0
_METRICS: Final = "metrics"

Join = Callable[[Sequence[bytes]], bytes]
"""Makes a request of encoded items."""
Rejected = Callable[[str, bytes], tuple[int, str]]
"""What an answer says was not taken, and why."""


class Complaints:
    """Log lines about one collector, at most one a minute, and one when it is well again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._logged_at: float | None = None
        self._failing = False

    def failed(self, signal: str, why: str) -> None:
        """A request was not taken."""
        self._failing = True
        self._warn("the OpenTelemetry collector does not take what is exported", signal, why)

    def rejected(self, signal: str, count: int, why: str) -> None:
        """A part of a request was not taken."""
        self._warn(f"the OpenTelemetry collector has rejected {count} items", signal, why)

    def fine(self) -> None:
        """A request was taken."""
        if self._failing:
            self._failing = False
            _log.warning("the OpenTelemetry collector takes what is exported again")

    def _warn(self, message: str, signal: str, why: str) -> None:
        now = self._clock()
        if self._logged_at is None or now - self._logged_at >= _LOG_EVERY_S:
            self._logged_at = now
            _log.warning("%s", message, extra={"signal": signal, "reason": redact(clean(why))})


class LaneExport:
    """Sends one lane."""

    def __init__(
        self,
        lane: Lane,
        collector: Collector,
        *,
        join: Join,
        rejected: Rejected,
        complaints: Complaints,
    ) -> None:
        """Send `lane` to `collector`; `join` makes requests, `rejected` reads their answers."""
        self.lane = lane
        self._collector = collector
        self._join = join
        self._rejected = rejected
        self._complaints = complaints
        self._failed = 0
        """Requests in a row."""

    async def run(self) -> None:
        """Send until cancelled."""
        pause_s = _PAUSE_S
        while True:
            await asyncio.sleep(pause_s)
            pause_s = await self.drain() or _PAUSE_S

    async def drain(self) -> float:
        """Send until nothing is left or the collector fails; then the seconds to wait, else 0.0."""
        while self.lane:
            wait_s = await self.send()
            if wait_s:
                return wait_s
        return 0.0

    async def send(self) -> float:
        """Send one request of what waits. Returns how long to wait for the next one; 0.0 after success."""
        lane = self.lane
        items = lane.take(_BATCH, _BATCH_BYTES)
        try:
            body, count = await asyncio.to_thread(self._packed, items)
            reply = await self._collector.send(lane.signal, body)
        except asyncio.CancelledError:
            lane.restore(items)
            raise
        if reply.fine:
            self._failed = 0
            lane.exported += count
            lane.dropped += len(items) - count
            self._complaints.fine()
            lane.rejected += _not_taken(lane.signal, reply, self._rejected, self._complaints)
            return 0.0
        lane.failures += 1
        self._failed += 1
        self._complaints.failed(lane.signal, reason(reply))
        if reply.repeatable:
            lane.restore(items)
        else:
            lane.dropped += len(items)
        pause_s: float = _FIRST_BACKOFF_S * 2.0 ** min(self._failed - 1, 16)
        pause_s = min(pause_s, _LONGEST_BACKOFF_S)
        return max(pause_s, reply.retry_after_s or 0.0)

    def _packed(self, items: Sequence[Item]) -> tuple[bytes, int]:
        """The request of these items, and how many of them are in it. Runs on a thread."""
        encoded: list[bytes] = []
        for item in items:
            try:
                encoded.append(item if isinstance(item, bytes) else item.encode())
            except Exception:  # content is anything at all; a defect in reading one costs only that one
                _log.exception("an item was not exported", extra={"signal": self.lane.signal})
        return self._join(encoded), len(encoded)


class MetricsExport:
    """Sends all metrics at an interval."""

    def __init__(
        self,
        collector: Collector,
        *,
        interval_s: float,
        snapshot: Callable[[], bytes],
        rejected: Rejected,
        complaints: Complaints,
    ) -> None:
        """Send what `snapshot` gives, a whole request, every `interval_s` to `collector`."""
        self._collector = collector
        self._interval_s = interval_s
        self._snapshot = snapshot
        self._rejected = rejected
        self._complaints = complaints
        self.exported = 0
        """Requests that were taken."""
        self.failures = 0
        self.rejected = 0
        """Data points."""

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.send()

    async def send(self) -> None:
        """Send the metrics as they stand."""
        reply = await self._collector.send(_METRICS, self._snapshot())
        if reply.fine:
            self.exported += 1
            self._complaints.fine()
            self.rejected += _not_taken(_METRICS, reply, self._rejected, self._complaints)
        else:
            self.failures += 1
            self._complaints.failed(_METRICS, reason(reply))


def reason(reply: Reply) -> str:
    """Why a request was not taken, in words. The collector's own are not repeated."""
    return reply.error or f"HTTP status {reply.status}"


def _not_taken(signal: str, reply: Reply, rejected: Rejected, complaints: Complaints) -> int:
    count, why = rejected(signal, reply.body)
    if count > 0:
        complaints.rejected(signal, count, why)
    return max(count, 0)
