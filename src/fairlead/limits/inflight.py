"""How much a target has in flight at most: the window, tuned from what the target shows.

A gateway does not own an engine's batch. Fairness is decided where requests
wait, so they must wait here: with too much in flight the engine's own queue,
first come first served, decides; with too little its capacity is wasted.
`Window` is kept so that the engine always has about one request waiting (its
batch stays full) and seldom more than two.

- From the engine's metrics (`saw`). While less than one request waits there
  and the window is what holds requests back, it grows: by up to twice at
  first, then by one request at a time. A queue that has stood above two for
  several looks (a standing queue and not a burst, as CoDel, RFC 8289, tells
  them apart) shrinks the window to what the engine showed it can run: the part
  of what is in flight that is running. Repeated on the same facts this
  changes nothing, so a slow drain does not shrink the window to nothing. A
  KV cache above its limit shrinks it likewise.
- Without metrics, from the time to first token (`first_token`): the gradient
  of Netflix's concurrency-limits (`Gradient2Limit`), between a baseline and
  the recent times. There the baseline is a long average, which follows a
  standing queue upwards until the queue is normal. Here it follows downwards
  at once and upwards only while the window holds nobody back, and else very
  slowly.

The window counts estimated tokens and requests; the target's `max_concurrency`
is a hard cap above both. One request is always let in, however large.
Everything is in process and pure: facts and `now` are handed in.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

_STANDING_LOOKS: Final = 3
"""Looks in a row that make a standing queue."""
_MOST_WAITING: Final = 2.0
"""Requests that may stand in the engine's queue."""
_KV_GROW: Final = 0.9
_KV_SHRINK: Final = 0.95
_KV_SEQUENCES: Final = 0.5
"""With a standing queue and less of the KV cache than this in use, places are short and not memory."""
_STALE_S: Final = 10.0
"""Without metrics for this long, latency decides."""
_FEWEST_TOKENS: Final = 256.0

_TOLERANCE: Final = 6.0
"""Recent times to first token may be this many times the baseline before the window shrinks."""
_SMOOTHING: Final = 0.05
_FAST_START: Final = 0.5
"""Requests more at each answer, until one was slow."""
_RECENT: Final = 0.2
_BASE_DOWN: Final = 0.2
_BASE_UP: Final = 0.02
_BASE_LEAK: Final = math.log(1.0005)
"""Per sample, while the window holds requests back: twice the baseline after 1400 samples."""
_MOST_REQUESTS: Final = 4096


class EngineFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an engine says of itself at one moment."""

    running: float
    """Requests in its batch."""
    waiting: float
    """Requests in its own queue."""
    kv_usage: float | None = None
    """Used part of the KV cache, 0 to 1; None when it does not say."""
    capacity_tokens: int | None = None
    """Tokens the KV cache holds; None when it does not say."""


class WindowRules(msgspec.Struct, frozen=True, kw_only=True):
    """Where a window begins and ends."""

    max_concurrency: int | None = None
    """Hard cap of requests in flight; None for none."""
    first_tokens: int = 16_384
    """In flight before anything is known. A capacity that the engine tells is no better start: what is short
    may be places in its batch."""
    first_requests: int = 8
    """The same in requests."""


class Window:
    """What one target has in flight, and may have. Mutable."""

    __slots__ = (
        "_base", "_engine_at", "_fast", "_looks", "_most", "_pressed", "_recent", "in_flight",
        "in_flight_tokens", "requests", "tokens",
    )  # fmt: skip

    def __init__(self, rules: WindowRules) -> None:
        self._most = float(rules.max_concurrency or _MOST_REQUESTS)
        self.tokens = float(rules.first_tokens)
        """Estimated tokens that may be in flight; infinite where only requests are counted."""
        self.requests = min(float(rules.first_requests), self._most)
        """Requests that may be in flight."""
        self.in_flight = 0
        self.in_flight_tokens = 0
        self._pressed = False
        """It has held a request back since the last look."""
        self._fast = True
        """Still growing by factors: no standing queue was seen yet."""
        self._looks: list[float] = []
        self._engine_at: float | None = None
        # Of the latency gradient:
        self._base: float | None = None
        self._recent = 0.0

    # --- who is in flight -----------------------------------------------------------------------

    def admits(self, size_tokens: int) -> bool:
        """May a request of this estimated size be sent now?"""
        in_flight = self.in_flight
        if not in_flight or (
            in_flight + 1 <= self.requests and self.in_flight_tokens + size_tokens <= self.tokens
        ):
            return True
        self._pressed = True
        return False

    def enter(self, size_tokens: int) -> None:
        """A request is being sent."""
        self.in_flight += 1
        self.in_flight_tokens += size_tokens

    def leave(self, size_tokens: int) -> None:
        """A request has ended, however it did."""
        self.in_flight -= 1
        self.in_flight_tokens -= size_tokens

    def configure(self, max_concurrency: int | None) -> None:
        """Take another cap, as after a reload."""
        self._most = float(max_concurrency or _MOST_REQUESTS)
        self.requests = min(self.requests, self._most)

    # --- from the engine's metrics --------------------------------------------------------------

    def saw(self, facts: EngineFacts, now: float) -> None:
        """Tune from the engine's metrics, a few times a second at most."""
        if not self._has_metrics(now):
            # First facts, or first ones after a pause in which latency counted requests only.
            if math.isinf(self.tokens):
                self.tokens = max(_FEWEST_TOKENS, float(self.in_flight_tokens))
            if facts.capacity_tokens and self._fast:
                self.tokens = max(_FEWEST_TOKENS, min(self.tokens, _KV_GROW * facts.capacity_tokens))
            self._looks.clear()
        self._engine_at = now
        looks = self._looks
        looks.append(facts.waiting)
        if len(looks) > _STANDING_LOOKS:
            looks.pop(0)
        pressed, self._pressed = self._pressed, False
        standing = min(looks)
        kv = facts.kv_usage
        if standing > _MOST_WAITING and len(looks) == _STANDING_LOOKS:
            self._fast = False
            self._shrink(facts, standing)
        elif kv is not None and kv > _KV_SHRINK and self.in_flight > 1:
            self._fast = False
            self._limit_tokens(self.in_flight_tokens * _KV_GROW / kv)
        elif pressed and facts.waiting < 1.0 and (kv is None or kv < _KV_GROW):
            self._grow(kv)

    def _shrink(self, facts: EngineFacts, standing: float) -> None:
        runs = (facts.running + 1.0) / (facts.running + standing)
        kv = facts.kv_usage
        if kv is not None and kv < _KV_SEQUENCES and facts.running:
            self.requests = max(1.0, min(self.requests, self.in_flight * runs))
        else:
            self._limit_tokens(self.in_flight_tokens * runs)

    def _limit_tokens(self, tokens: float) -> None:
        self.tokens = max(_FEWEST_TOKENS, min(self.tokens, tokens))

    def _grow(self, kv: float | None) -> None:
        """Both grow: more of the one that held nobody back does no harm soon."""
        one = self.in_flight_tokens / self.in_flight if self.in_flight else _FEWEST_TOKENS
        if self._fast:
            factor = 2.0 if kv is None else min(2.0, max(1.05, _KV_GROW / max(kv, 0.01)))
            self.tokens *= factor
            self.requests = min(self._most, self.requests * factor)
        else:
            self.tokens += one
            self.requests = min(self._most, self.requests + 1.0)

    # --- from latency ---------------------------------------------------------------------------

    def first_token(self, seconds: float, now: float) -> None:
        """Tune from one time to first token; heeded only while there are no metrics."""
        if self._has_metrics(now) or seconds <= 0.0:
            return
        sample = math.log(seconds)
        if self._base is None:
            self._base = self._recent = sample
        self.tokens = math.inf
        self._recent += _RECENT * (sample - self._recent)
        pressed, self._pressed = self._pressed, False
        limit = self.requests
        if sample < self._base:
            self._base += _BASE_DOWN * (sample - self._base)
        elif pressed or self.in_flight > limit / 2:
            self._base += _BASE_LEAK
        else:
            self._base += _BASE_UP * (sample - self._base)
        gradient = max(0.5, min(1.0, _TOLERANCE * math.exp(self._base - self._recent)))
        change = _SMOOTHING * (limit * gradient + max(1.0, math.sqrt(limit) / 2) - limit)
        if gradient < 1.0:
            self._fast = False
        elif self._fast:
            change = _FAST_START
        if change < 0.0 or pressed:
            self.requests = max(1.0, min(self._most, limit + change))

    def _has_metrics(self, now: float) -> bool:
        return self._engine_at is not None and now - self._engine_at < _STALE_S
