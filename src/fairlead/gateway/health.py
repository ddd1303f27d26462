"""The circuit breaker of one target, as a state machine without a clock.

Closed: requests pass; consecutive failures, or their share of a window, open
it. Open: nobody passes until `open_until`; then a background probe (a
connection and a cheap GET, made by `gateway.prober`) must succeed before the
breaker is half open. Half open: one request at a time is let through as a
trial; its success closes the breaker, its failure opens it for twice as long.

Only what an upstream is to blame for counts (`BLAMED`): a caller's own
time-out, a malformed request or an unknown model say nothing about health
(LiteLLM's cooldown on those was the bug to avoid). A 429 is not ill health
either: it pauses the target for the time that the upstream names.
"""

from __future__ import annotations

import enum
from typing import Final

from fairlead.config import Breaker as BreakerConfig
from fairlead.types import Failure, FailureKind

BLAMED: Final = frozenset(
    {
        FailureKind.UNREACHABLE,
        FailureKind.TLS,
        FailureKind.TIMEOUT,
        FailureKind.TOO_SLOW,
        FailureKind.DISCONNECTED,
        FailureKind.CUT,
        FailureKind.EMPTY,
        FailureKind.BAD_ANSWER,
        FailureKind.SERVER_ERROR,
        FailureKind.OVERLOADED,
        FailureKind.AUTH,
        FailureKind.QUOTA,
    }
)
"""Failures that count against a target."""

_DECISIVE: Final = frozenset({FailureKind.AUTH, FailureKind.QUOTA})
"""Failures that open the breaker at once: the next request would fail alike."""

MAX_PAUSE_S: Final = 60.0
"""Longest pause taken from an upstream's `retry-after`."""

_VERDICT_S: Final = 0.5
"""A guess at how long a probe or a trial takes."""


class BreakerState(enum.IntEnum):
    """Ordered by how much passes; the numbers are the metric's values."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """Health of one target. Every method takes `now`, in seconds of any monotonic clock."""

    __slots__ = (
        "_consecutive",
        "_failed",
        "_half_open",
        "_limited",
        "_open_s",
        "_opened",
        "_previous_failed",
        "_previous_total",
        "_rule",
        "_total",
        "_trial",
        "_window_start",
        "last_failure",
        "open_until",
        "paused_until",
        "times_opened",
    )

    def __init__(self, rule: BreakerConfig) -> None:
        self._rule = rule
        self._consecutive = 0
        self._total = self._failed = 0
        self._previous_total = self._previous_failed = 0
        self._window_start = 0.0
        self._opened = False
        self._half_open = False
        self._limited = False
        self._trial = False
        self._open_s = rule.open_s
        self.open_until = 0.0
        self.paused_until = 0.0
        """The upstream asked for a pause until then (429 with retry-after)."""
        self.last_failure: Failure | None = None
        self.times_opened = 0

    def configure(self, rule: BreakerConfig) -> None:
        """Take new bounds; what is known of the target stays."""
        self._rule = rule

    @property
    def state(self) -> BreakerState:
        if not self._opened:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._half_open else BreakerState.OPEN

    @property
    def healthy(self) -> bool:
        """Closed: requests pass without being a trial."""
        return not self._opened

    def rate_limited(self, now: float) -> bool:
        """Well, but paused because the upstream said 429."""
        return now < self.paused_until and self._limited and not self._opened

    def admits(self, now: float) -> bool:
        """May a request be sent now. In the half-open state: may a trial."""
        if now < self.paused_until:
            return False
        if not self._opened:
            return True
        return self._half_open and not self._trial

    def wants_probe(self, now: float) -> bool:
        """Open for long enough that a background probe should be made."""
        return self._opened and not self._half_open and now >= self.open_until

    def wait_s(self, now: float) -> float:
        """Seconds until this target might admit a request again; 0.0 only when it admits one now."""
        wait = max(self.paused_until - now, 0.0)
        if self._opened and (not self._half_open or self._trial):
            # Also when its time is over: a probe or a trial is under way and has not decided yet.
            wait = max(wait, self.open_until - now, _VERDICT_S)
        return wait

    def start(self) -> bool:
        """A request is being sent. Return True when it is the half-open trial."""
        if self._half_open:
            self._trial = True
            return True
        return False

    def succeed(self, now: float) -> None:
        """An attempt got its answer."""
        self._consecutive = 0
        if self._opened:
            self._close()
        self._count(now, failed=False)

    def fail(self, failure: Failure, now: float) -> None:
        """An attempt failed. Failures that are not the target's fault only end a trial."""
        kind = failure.kind
        if kind is FailureKind.RATE_LIMITED:
            self._trial = False
            if failure.retry_after_s is not None:
                self._limited = True
                self.paused_until = max(self.paused_until, now + min(failure.retry_after_s, MAX_PAUSE_S))
            return
        if kind not in BLAMED:
            self.abandon()
            return
        self.last_failure = failure
        if not self._rule.enabled:
            return
        if kind is FailureKind.OVERLOADED and failure.retry_after_s is not None:
            self._limited = False
            self.paused_until = max(self.paused_until, now + min(failure.retry_after_s, MAX_PAUSE_S))
        self._consecutive += 1
        self._count(now, failed=True)
        if self._opened:
            if self._half_open:
                self._open_s = min(self._open_s * 2, self._rule.max_open_s)
                self._open(now)
            return
        total = self._total + self._previous_total
        failed = self._failed + self._previous_failed
        if (
            kind in _DECISIVE
            or self._consecutive >= self._rule.failures
            or (total >= self._rule.min_requests and failed / total >= self._rule.error_rate)
        ):
            self._open(now)

    def abandon(self) -> None:
        """A trial ended without saying anything about the target (the client left)."""
        self._trial = False

    def probe_succeeded(self) -> None:
        """The background probe found the target answering: let one request try."""
        if self._opened:
            self._half_open = True
            self._trial = False

    def probe_failed(self, failure: Failure, now: float) -> None:
        """The background probe failed: stay open, for longer."""
        self.last_failure = failure
        self._open_s = min(self._open_s * 2, self._rule.max_open_s)
        self._open(now)

    def reset(self) -> None:
        """Close it by hand."""
        self._close()
        self.paused_until = 0.0

    def _open(self, now: float) -> None:
        if not self._opened:
            self.times_opened += 1
        self._opened = True
        self._half_open = self._trial = False
        self.open_until = now + self._open_s

    def _close(self) -> None:
        self._opened = self._half_open = self._trial = False
        self._consecutive = 0
        self._open_s = self._rule.open_s
        self._total = self._failed = self._previous_total = self._previous_failed = 0

    def _count(self, now: float, *, failed: bool) -> None:
        # Two adjacent half windows: cheap, and old outcomes leave within one window.
        half = self._rule.window_s / 2
        age = now - self._window_start
        if age >= half:
            if age >= 2 * half:
                self._previous_total = self._previous_failed = 0
            else:
                self._previous_total, self._previous_failed = self._total, self._failed
            self._total = self._failed = 0
            self._window_start = now
        self._total += 1
        self._failed += failed
