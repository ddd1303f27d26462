"""Where requests wait for a target's concurrency, first come first served."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from fairlead.errors import Overloaded

MAX_WAITING: Final = 1000
"""Requests that may wait per model; more are refused at once."""


class WaitingRoom:
    """Queues by model name. Waiters leave it when woken, cancelled or out of time."""

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}

    async def wait(self, name: str, deadline: float, *, woken: bool = False) -> None:
        """Wait until a place may be free.

        Args:
            name: the model.
            deadline: `time.monotonic()` after which waiting is pointless.
            woken: it has waited before, and somebody else took the place: it is the first again.

        Raises:
            Overloaded: too many wait already, or the deadline has come.
        """
        queue = self._queues.setdefault(name, deque())
        if len(queue) >= MAX_WAITING and not woken:
            raise Overloaded(f"{len(queue)} requests for `{name}` are waiting already", retry_after_s=5.0)
        loop = asyncio.get_running_loop()
        place: asyncio.Future[None] = loop.create_future()
        timer = loop.call_at(deadline, _expire, place, name)
        if woken:
            queue.appendleft(place)
        else:
            queue.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.wake(name)  # woken and cancelled at once: the place goes to the next
            raise
        finally:
            timer.cancel()
            if place in queue:
                queue.remove(place)
            if not queue:
                self._queues.pop(name, None)

    def wake(self, name: str) -> None:
        """A place became free: wake the first that waits for it."""
        queue = self._queues.get(name)
        while queue:
            place = queue.popleft()
            if not place.done():
                place.set_result(None)
                return

    def waiting(self, name: str) -> int:
        """Requests waiting for `name`."""
        return len(self._queues.get(name, ()))


def _expire(place: asyncio.Future[None], name: str) -> None:
    if not place.done():
        place.set_exception(Overloaded(f"no target of `{name}` became free in time", retry_after_s=5.0))
