"""The capacity of a provider with rate limits, learned from its answers.

A hosted provider has no batch to fill but a bucket of tokens and one of
requests per minute, and tells of them in its answers' header fields; a 429
tells the rest. While nothing was learned everything is admitted.

What is told may be wrong, and with nothing sent nothing new is told: at the
latest a minute after the last request or answer one may go all the same.

Levels are estimates: others may use the same account, and what is under way
when an answer is made may or may not be counted in it. A told level that is
lower is believed at once; one that is higher moves ours half-way.
"""

from __future__ import annotations

from typing import Final

import msgspec

_MINUTE_S: Final = 60.0
_PROBE_S: Final = 60.0
"""The longest silence."""


class RateFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one answer told of one bucket; None where it did not."""

    limit: float | None = None
    """Of the bucket, per minute unless `reset_s` tells another rate."""
    remaining: float | None = None
    reset_s: float | None = None
    """Until the bucket is full again."""


class _Bucket:
    __slots__ = ("at", "capacity", "level", "per_s")

    def __init__(self) -> None:
        self.capacity: float | None = None
        self.level = 0.0
        self.per_s = 0.0
        self.at = 0.0

    def refill(self, now: float) -> None:
        if self.capacity is not None and now > self.at:
            self.level = min(self.capacity, self.level + (now - self.at) * self.per_s)
            self.at = now

    def learn(self, facts: RateFacts, now: float) -> None:
        limit = facts.limit
        if limit is None or limit <= 0.0:
            return
        remaining = facts.remaining
        if self.capacity is None:
            self.level = limit if remaining is None else remaining
            self.at = now
        self.refill(now)
        self.capacity = limit
        self.per_s = limit / _MINUTE_S
        if remaining is None:
            return
        if facts.reset_s and remaining < limit:
            # Holds for limits per day, too, which some providers tell under the same names.
            self.per_s = (limit - remaining) / facts.reset_s
        higher = remaining - self.level
        self.level += higher if higher < 0.0 else higher / 2

    def wait_s(self, cost: float, now: float) -> float:
        self.refill(now)
        if self.capacity is None:
            return 0.0
        # What is larger than the bucket goes when the bucket is full.
        short = min(cost, self.capacity) - self.level
        return short / self.per_s if short > 0.0 else 0.0


class ProviderRate:
    """Tokens and requests that one provider account admits now. Mutable."""

    __slots__ = ("_heard_at", "_paused_until", "_requests", "_tokens")

    def __init__(self) -> None:
        self._tokens = _Bucket()
        self._requests = _Bucket()
        self._paused_until = 0.0
        self._heard_at = 0.0
        """When something was sent or told last."""

    def learn(
        self, now: float, *, tokens: RateFacts | None = None, requests: RateFacts | None = None
    ) -> None:
        """Take what an answer's header fields told."""
        self._heard_at = max(self._heard_at, now)
        if tokens is not None:
            self._tokens.learn(tokens, now)
        if requests is not None:
            self._requests.learn(requests, now)

    def refused(self, retry_after_s: float, now: float) -> None:
        """The provider answered 429: whatever we thought was left is not, and nothing goes for a while."""
        self._heard_at = max(self._heard_at, now)
        self._paused_until = max(self._paused_until, now + retry_after_s)
        self._tokens.refill(now)
        self._tokens.level = min(self._tokens.level, 0.0)

    def wait_s(self, size_tokens: int, now: float) -> float:
        """Seconds until a request of this size may go; 0.0 for now."""
        paused = self._paused_until - now
        wait = max(self._tokens.wait_s(size_tokens, now), self._requests.wait_s(1.0, now))
        return max(min(max(wait, paused), self._heard_at + _PROBE_S - now), 0.0)

    def take(self, size_tokens: int, now: float) -> None:
        """A request is being sent."""
        self._heard_at = max(self._heard_at, now)
        for bucket, cost in ((self._tokens, size_tokens), (self._requests, 1)):
            bucket.refill(now)
            bucket.level -= cost
