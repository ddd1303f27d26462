"""What happens after a failed attempt, as one pure decision.

The decision is a value: ask another target, ask this one again after a pause,
turn to another model, or stop. All retries of the gateway share one budget,
so that an outage is not multiplied by the number of its victims; attempts
that never reached an upstream (refused connections, DNS) are free, because
they put no load on anybody.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from fairlead.config import Retry as RetryConfig
from fairlead.types import Failure, FailureKind

_FREE: Final = frozenset({FailureKind.UNREACHABLE, FailureKind.TLS, FailureKind.UNSUPPORTED})
_FINAL: Final = frozenset({FailureKind.INVALID_REQUEST})
_ELSEWHERE: Final = frozenset(
    {FailureKind.AUTH, FailureKind.QUOTA, FailureKind.NOT_FOUND, FailureKind.UNSUPPORTED}
)
"""Failures that the same target would repeat."""
_OTHER_MODEL: Final = frozenset({FailureKind.CONTEXT_WINDOW, FailureKind.CONTENT_POLICY})


class Step(enum.Enum):
    NEXT = "next"  # another target of this model
    AGAIN = "again"  # the same target, after a pause
    FALLBACK = "fallback"  # another model, by the kind of failure
    STOP = "stop"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    step: Step
    pause_s: float = 0.0


_NEXT: Final = Decision(step=Step.NEXT)
_STOP: Final = Decision(step=Step.STOP)
_FALLBACK: Final = Decision(step=Step.FALLBACK)


def decide(
    failure: Failure,
    *,
    attempts: int,
    same_target: int,
    others: bool,
    budget: bool,
    remaining_s: float,
    config: RetryConfig,
    roll: float,
) -> Decision:
    """Decide what follows `failure`.

    Args:
        failure: the attempt that just ended.
        attempts: attempts made for this request so far.
        same_target: attempts made at the same target so far.
        others: another target of the model would admit the request now.
        budget: the gateway's retry budget allows one more.
        remaining_s: time left of the request's deadline.
        config: the configured bounds.
        roll: a random number in [0, 1) for jitter.
    """
    kind = failure.kind
    if kind in _FINAL:
        return _STOP
    if kind in _OTHER_MODEL:
        return _FALLBACK
    if attempts >= config.max_attempts or remaining_s <= 0:
        return _STOP
    if not budget and kind not in _FREE:
        return _STOP
    if others:
        return _NEXT
    if kind in _ELSEWHERE:
        return _STOP
    if failure.retry_after_s is not None:
        pause = failure.retry_after_s
        if pause > config.max_retry_after_s:
            return _STOP
        # Clients that were refused together should not come back together.
        pause += 0.1 * roll * config.backoff_s
    else:
        # Full jitter over the exponential step, never below a tenth of it.
        step = min(config.backoff_s * 2 ** (same_target - 1), config.max_backoff_s)
        pause = step * (0.1 + 0.9 * roll)
    if pause >= remaining_s:
        return _STOP
    return Decision(step=Step.AGAIN, pause_s=pause)


class RetryBudget:
    """Retries as a share of requests: each request earns a fraction of one, each retry costs one.

    `min_budget` retries per ten seconds are always there, so that a quiet
    gateway can retry at all; what is unspent is kept up to ten times that.
    """

    __slots__ = ("_balance", "_cap", "_floor_per_s", "_share", "_updated")

    def __init__(self, config: RetryConfig) -> None:
        self._updated = 0.0
        self._balance = float(config.min_budget)
        self.configure(config)

    def configure(self, config: RetryConfig) -> None:
        """Take new bounds; what has been earned stays, up to the new cap."""
        self._share = config.budget
        self._floor_per_s = config.min_budget / 10
        self._cap = max(config.min_budget * 10.0, 10.0 if config.budget else 0.0)
        self._balance = min(self._balance, self._cap)

    def earn(self) -> None:
        """A request has arrived."""
        if self._balance < self._cap:
            self._balance += self._share

    def spend(self, failure: Failure, now: float) -> bool:
        """Take one retry after `failure`; False when there is none left. Free ones cost nothing."""
        if failure.kind in _FREE:
            return True
        self._refill(now)
        if self._balance < 1:
            return False
        self._balance -= 1
        return True

    def remaining(self, now: float) -> float:
        """Retries available now."""
        self._refill(now)
        return self._balance

    def _refill(self, now: float) -> None:
        elapsed = now - self._updated
        self._updated = now
        if elapsed > 0 and self._balance < self._cap:
            # The first call sees an arbitrary clock: ten seconds' worth is the most that is added.
            self._balance = min(self._cap, self._balance + min(elapsed, 10.0) * self._floor_per_s)


def carries_prompt(failure: Failure) -> bool:
    """The upstream may have worked on the request before this failure, so it may bill for it."""
    return failure.kind not in _FREE and failure.status is None
