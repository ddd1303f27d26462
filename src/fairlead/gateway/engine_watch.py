"""Reads the metrics of engines and tells their queues, so that the windows are tuned.

An edge: one task looks twice a second at which engines are due, and makes at
most one request at a time to each. A busy engine is asked every half second,
an idle one every five. One that has no metrics, or does not answer, is asked
now and then; meanwhile its window is tuned from latency (`limits.inflight`).
Nothing here counts for a target's breaker: a slow metrics page is no outage.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from fairlead.errors import FairleadError
from fairlead.gateway.engine_metrics import parse
from fairlead.gateway.queue import TargetQueue
from fairlead.gateway.upstream import Upstream
from fairlead.limits.inflight import EngineFacts
from fairlead.net.client import Client

METRICS_TYPES: Final = frozenset({"vllm", "sglang", "tgi", "llamacpp", "simulated", "openai-compatible"})
"""Provider types that may have a metrics page."""

_BUSY_S: Final = 0.5
_IDLE_S: Final = 5.0
_FAILED_S: Final = 5.0
_NO_METRICS_S: Final = 60.0
_PATIENCE_S: Final = 2.0
_MAX_PAGE: Final = 8 * 1024 * 1024
_PATH: Final = "/metrics"


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """A target's queue and where its engine's metrics are."""

    upstream: Upstream
    queue: TargetQueue


class _Pause(msgspec.Struct, frozen=True, kw_only=True):
    until: float
    idle: bool
    """Because nothing was to be done; over as soon as something is."""


class EngineWatch:
    """Watches what `watched()` gives, which follows a reload."""

    def __init__(self, client: Client, watched: Callable[[], Iterable[Watched]]) -> None:
        self._client = client
        self._watched = watched
        self._pauses: dict[Upstream, _Pause] = {}
        self._asking: set[Upstream] = set()

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                for upstream, queues in self.due(time.monotonic()):
                    group.create_task(self.look(upstream, queues))
                await asyncio.sleep(_BUSY_S)

    def due(self, now: float) -> list[tuple[Upstream, list[TargetQueue]]]:
        """Engines to ask now, each with the queues of its targets. Forgets those that are gone."""
        engines: dict[Upstream, list[TargetQueue]] = {}
        for watched in self._watched():
            if watched.upstream.type in METRICS_TYPES:
                queues = engines.setdefault(watched.upstream, [])
                if watched.queue not in queues:
                    queues.append(watched.queue)
        self._pauses = {upstream: pause for upstream, pause in self._pauses.items() if upstream in engines}
        found = []
        for upstream, queues in engines.items():
            pause = self._pauses.get(upstream)
            over = pause is None or now >= pause.until or (pause.idle and _busy(queues))
            if over and upstream not in self._asking:
                found.append((upstream, queues))
        return found

    async def look(self, upstream: Upstream, queues: Sequence[TargetQueue]) -> None:
        """Ask one engine once and tell the queues of its targets."""
        self._asking.add(upstream)
        pause_s, idle = _FAILED_S, False
        try:
            facts = await self._ask(upstream)
            now = time.monotonic()
            if facts is None:
                pause_s = _NO_METRICS_S
            else:
                for queue in queues:
                    queue.saw(facts, now)
                idle = not _busy(queues)
                pause_s = _IDLE_S if idle else 0.0
        except FairleadError:
            pass  # its requests will tell; see the module's docstring
        finally:
            self._asking.discard(upstream)
            self._pauses[upstream] = _Pause(until=time.monotonic() + pause_s, idle=idle)

    async def _ask(self, upstream: Upstream) -> EngineFacts | None:
        deadline = time.monotonic() + _PATIENCE_S
        conn = self._client.idle(upstream.origin)
        if conn is None:
            conn = await self._client.connect(upstream.origin, deadline)
        kept = False
        try:
            conn.deadline = deadline
            conn.send(upstream.beside(_PATH))
            head = await conn.head()
            page = await conn.read_all(_MAX_PAGE)
            conn.release()
            kept = True
        finally:
            if not kept:
                conn.abort()
        return parse(page) if head.status == 200 else None


def _busy(queues: Sequence[TargetQueue]) -> bool:
    return any(queue.waiting or queue.window.in_flight for queue in queues)
