"""The time that stores count by: Unix microseconds that never run backwards.

The wall clock, as long as it moves forward. After it was set back, time goes
on from where it was, at the speed of the monotonic clock, until the wall clock
has caught up or the process restarts; nothing refills twice, and no bucket is
locked for as long as the clock was set back.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class ForwardClock:
    """Call it for the time."""

    __slots__ = ("_last", "_last_monotonic", "_monotonic_ns", "_wall_ns")

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Both clocks in nanoseconds."""
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._last = wall_ns()
        self._last_monotonic = monotonic_ns()

    def __call__(self) -> int:
        """Unix microseconds."""
        wall, monotonic = self._wall_ns(), self._monotonic_ns()
        if wall < self._last:
            wall = self._last + max(0, monotonic - self._last_monotonic)
        self._last = wall
        self._last_monotonic = monotonic
        return wall // 1000
