"""Hedging: a second target is asked when the first is slow to start (Dean and Barroso 2013).

Opt-in, because it buys latency with tokens: bounded per request by a cost and
overall by a share of requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fairlead.gateway.attempt import AttemptFailed, UpstreamCall
from fairlead.gateway.router import Target


class HedgeShare:
    """How many requests were hedged, over a decaying count of requests."""

    __slots__ = ("_hedged", "_requests")

    def __init__(self) -> None:
        self._requests = 0.0
        self._hedged = 0.0

    def requested(self) -> None:
        """A request that may be hedged has come."""
        self._requests += 1
        if self._requests > 2000:
            # Forget half: the share follows the recent past.
            self._requests /= 2
            self._hedged /= 2

    def hedged(self) -> None:
        """A second target was asked."""
        self._hedged += 1

    def allows(self, fraction: float) -> bool:
        """One more hedge stays within `fraction` of requests; the first one always does."""
        return self._hedged < 1 or self._hedged + 1 <= fraction * self._requests


async def race(
    attempt: Callable[[Target, bool], Coroutine[Any, Any, UpstreamCall]],
    first: Target,
    second: Callable[[], Target | None],
    discard: Callable[[UpstreamCall], None],
    after_s: float,
) -> UpstreamCall:
    """The first committed answer of up to two attempts; awaited in a task.

    Args:
        attempt: starts an attempt at a target; the flag says that it is the hedge.
        first: asked at once.
        second: gives the target to ask after `after_s` without an answer, or None.
        discard: closes an answer that came too late.
        after_s: seconds to wait for the first.

    Raises:
        AttemptFailed: the last failure, when no attempt succeeded.
    """
    loop = asyncio.get_running_loop()
    tasks = {loop.create_task(attempt(first, False))}
    failure: AttemptFailed | None = None
    try:
        done, _ = await asyncio.wait(tasks, timeout=after_s)
        if not done:
            other = second()
            if other is not None:
                tasks.add(loop.create_task(attempt(other, True)))
        waiting = set(tasks)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is None:
                    tasks.discard(task)
                    return task.result()
                if not isinstance(error, AttemptFailed):
                    raise error
                failure = error
        assert failure is not None
        raise failure
    finally:
        for task in tasks:
            if not task.done():
                task.cancel()
            elif not task.cancelled() and task.exception() is None:
                discard(task.result())
