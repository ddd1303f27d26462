"""Reads the metrics of engines: the windows are tuned by them, and the board shows them.

One look serves both, and the anatomy of requests through the board's means.
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
from fairlead.gateway.engine_metrics import facts
from fairlead.gateway.queue import TargetQueue
from fairlead.gateway.router import Target
from fairlead.gateway.upstream import Upstream
from fairlead.net.client import Client
from fairlead.telemetry.scrapers.board import Board
from fairlead.telemetry.scrapers.fetch import Place, fetch
from fairlead.telemetry.scrapers.watch import Contents, understood

METRICS_TYPES: Final = frozenset({"vllm", "sglang", "tgi", "llamacpp", "simulated", "openai-compatible"})
"""Provider types that may have a metrics page."""

_BUSY_S: Final = 0.5
_IDLE_S: Final = 5.0
_FAILED_S: Final = 5.0
_NO_METRICS_S: Final = 60.0
_PATIENCE_S: Final = 2.0
_MAX_PAGE: Final = 8 * 1024 * 1024
_PATH: Final = "/metrics"
_TELL_S: Final = 1.0


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

    def __init__(
        self, client: Client, watched: Callable[[], Iterable[Watched]], board: Board | None = None
    ) -> None:
        self._client = client
        self._watched = watched
        self._board = board if board is not None else Board()
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
            found = await self._ask(upstream)
            now = time.monotonic()
            if found is not None and found.engine is not None:
                self._board.engine([queue.name for queue in queues], found.engine, now)
            known = facts(found.engine) if found is not None else None
            if known is None:
                pause_s = _NO_METRICS_S
                self._board.count(upstream.name, "status" if found is None else "unknown")
            else:
                for queue in queues:
                    queue.saw(known, now)
                idle = not _busy(queues)
                pause_s = _IDLE_S if idle else 0.0
                self._board.count(upstream.name, "ok", found.bad_lines if found is not None else 0)
        except FairleadError:
            # Its requests will tell; see the module's docstring.
            self._board.count(upstream.name, "failed")
        finally:
            self._asking.discard(upstream)
            self._pauses[upstream] = _Pause(until=time.monotonic() + pause_s, idle=idle)

    async def _ask(self, upstream: Upstream) -> Contents | None:
        """What its page holds; None when it has none."""
        place = Place(origin=upstream.origin, request=upstream.beside(_PATH))
        deadline = time.monotonic() + _PATIENCE_S
        status, page = await fetch(self._client, place, deadline=deadline, max_bytes=_MAX_PAGE)
        return await understood(page) if status == 200 else None


async def tell_means(board: Board, targets: Callable[[], Iterable[Target]]) -> None:
    """Tell every target what its engine's histograms have said lately, until cancelled."""
    while True:
        now = time.monotonic()
        for target in targets():
            target.load_state.engine = board.means(target.name, now)
        await asyncio.sleep(_TELL_S)


def _busy(queues: Sequence[TargetQueue]) -> bool:
    return any(queue.waiting or queue.window.in_flight for queue in queues)
