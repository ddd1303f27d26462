"""Tells when an open breaker's target answers again, without risking a client's request.

An edge: one task looks a few times a second for targets that want a probe
(`Breaker.wants_probe`) and makes at most one at a time for each: a connection
(with TLS), and where the engine has one a cheap GET. Success makes the breaker
half open, so that one real request may try.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

from fairlead.errors import FairleadError
from fairlead.gateway.attempt import failure_of
from fairlead.gateway.health import Breaker, BreakerState
from fairlead.gateway.router import Target
from fairlead.gateway.upstream import Upstream
from fairlead.net.client import Client
from fairlead.types import Failure, FailureKind

_EVERY_S: Final = 0.25
_PATIENCE_S: Final = 3.0
_MAX_BODY: Final = 1024 * 1024


class Prober:
    """Watches the targets that `targets()` gives, which follows a reload."""

    def __init__(self, client: Client, targets: Callable[[], Iterable[Target]]) -> None:
        self._client = client
        self._targets = targets
        self._probing: set[Breaker] = set()

    async def run(self) -> None:
        """Probe until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                now = time.monotonic()
                for target in self._targets():
                    if target.breaker.wants_probe(now) and target.breaker not in self._probing:
                        self._probing.add(target.breaker)
                        group.create_task(self._probe(target))
                await asyncio.sleep(_EVERY_S)

    async def _probe(self, target: Target) -> None:
        try:
            failure = await self._ask(target)
        finally:
            self._probing.discard(target.breaker)
        if failure is None:
            target.breaker.probe_succeeded()
        elif target.breaker.state is BreakerState.OPEN:
            # Else somebody closed it meanwhile: an operator, or a request that was under way.
            target.breaker.probe_failed(failure, time.monotonic())

    async def _ask(self, target: Target) -> Failure | None:
        upstream = target.api
        assert isinstance(upstream, Upstream)
        deadline = time.monotonic() + _PATIENCE_S
        try:
            conn = await self._client.connect(upstream.origin, deadline)
        except FairleadError as error:
            return failure_of(error)
        try:
            if upstream.kind.probe is None:
                return None
            conn.deadline = deadline
            conn.send(upstream.head("GET", upstream.kind.probe, b""))
            head = await conn.head()
            await conn.read_all(_MAX_BODY)
        except FairleadError as error:
            return failure_of(error)
        finally:
            conn.abort()
        if head.status >= 500:
            message = f"the probe of {target.name} was answered with status {head.status}"
            return Failure(kind=FailureKind.SERVER_ERROR, message=message, status=head.status)
        return None
