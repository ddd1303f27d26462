"""Keeps the fair queues of several gateways in step.

An edge: one task, five times a second, tells the other gateways what was
served here and counts what they served (`limits.gossip`). A round without an
answer changes nothing; fairness is then among those who wait in this process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from fairlead.errors import StorageError
from fairlead.gateway.queue import TargetQueue
from fairlead.limits.gossip import Served, served

INTERVAL_S: Final = 0.2


class Exchange(Protocol):
    """`limits.gossip.Gossip`, or a test's."""

    async def exchange(self, own: Callable[[], list[Served]]) -> list[Served]:
        """Tell and hear; see there."""
        ...


class QueueSync:
    """Syncs what `queues()` gives, which follows a reload."""

    def __init__(self, queues: Callable[[], Iterable[TargetQueue]], gossip: Exchange) -> None:
        self._queues = queues
        self._gossip = gossip
        self.failures = 0
        """Rounds without an answer."""

    async def run(self) -> None:
        """Sync until cancelled."""
        while True:
            await self.sync()
            await asyncio.sleep(INTERVAL_S)

    async def sync(self) -> None:
        """One round."""
        try:
            heard = await self._gossip.exchange(self._own)
        except StorageError:
            self.failures += 1
            return
        queues = {queue.name: queue for queue in self._queues()}
        for one in heard:
            queue = queues.get(one.target)
            if queue is not None:
                queue.hear(one.flow(), one.cost)

    def _own(self) -> list[Served]:
        return [served(queue.name, flow, cost) for queue in self._queues() for flow, cost in queue.served()]
