"""Says once a window that a limit has reached a fraction of its amount (`warn_at`).

For budgets the window is the budget's own, and what counts is what was
settled. For rates and places it is a minute. What was said is not kept over a
restart: the first request behind it may say it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from fairlead.limits.quota import State, What

_MINUTE_S: Final = 60.0
_MOST_LIMITS: Final = 10_000


class Crossing(msgspec.Struct, frozen=True, kw_only=True):
    """A limit has reached a fraction of its amount."""

    state: State
    fraction: float
    """The highest of the limit's `warn_at` that is reached."""


class Warnings:
    """What has been said of which limit."""

    def __init__(self, tell: Callable[[Crossing], None]) -> None:
        """Tell crossings to this function, which must be quick and not fail."""
        self._tell = tell
        self._told: dict[str, tuple[float, float]] = {}

    def look(self, states: Iterable[State], now: float) -> None:
        """Tell what the states have newly crossed; `now` is Unix seconds."""
        for state in states:
            if state.limit.warn_at:
                self._look_at(state, now)

    def _look_at(self, state: State, now: float) -> None:
        limit = state.limit
        reached = [part for part in limit.warn_at if state.used >= part * limit.ceiling]
        if not reached:
            return
        until, told = self._told.get(limit.id, (0.0, 0.0))
        if now < until and told >= reached[-1]:
            return
        if now >= until:
            until = state.resets_at if limit.what is What.USD and state.resets_at else now + _MINUTE_S
        if len(self._told) >= _MOST_LIMITS:
            self._told = {name: entry for name, entry in self._told.items() if now < entry[0]}
        self._told[limit.id] = (until, reached[-1])
        self._tell(Crossing(state=state, fraction=reached[-1]))
