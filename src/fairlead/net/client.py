"""The gateway's upstream client: pools, dialling and deadlines.

`idle` is synchronous and is asked first; only when it has nothing does a
caller await `connect`. Deadlines are an attribute of each connection, swept
by one coarse ticker: a timer per request would cost more than the request's
own bookkeeping. Everything belongs to one `Client`; there is no module state.

Requests and answers are `net.upstream`'s; retries, time-outs in words of a
request and which upstream to ask are the pipeline's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from fairlead.errors import UpstreamTimeout
from fairlead.net.client_tls import TlsContexts
from fairlead.net.dial import open_transport
from fairlead.net.origin import Origin
from fairlead.net.pool import Counts, Pool
from fairlead.net.resolve import Lookup, Resolver, system_lookup
from fairlead.net.response import ResponseHead
from fairlead.net.upstream import Connection, Shared

__all__ = ["Client", "Connection", "Counts", "Origin", "ResponseHead"]

TICK_S: Final = 0.05
"""How late a deadline may be noticed."""

Dial = Callable[[Origin, asyncio.Protocol, Resolver, TlsContexts], Awaitable[None]]
"""Connects a protocol to an origin; `net.dial.open_transport`, or a test's own network."""


class Client:
    """Connections to any number of origins.

    May be built outside a running loop; belongs to the loop of its first `connect`.
    """

    def __init__(self, *, lookup: Lookup = system_lookup, dial: Dial = open_transport) -> None:
        self._dial = dial
        self._shared = Shared(lambda flush: asyncio.get_running_loop().call_soon(flush))
        self._pools: dict[Origin, Pool[Connection]] = {}
        self._resolver = Resolver(lookup, lambda: asyncio.get_running_loop().time())
        self._contexts = TlsContexts()
        self._dialling: set[asyncio.Task[Connection]] = set()
        self._ticker: asyncio.TimerHandle | None = None
        self._closed = False

    def idle(self, origin: Origin) -> Connection | None:
        """Check out a live pooled connection, or return None. Does not suspend."""
        pool = self._pools.get(origin)
        if pool is None:
            return None
        while (taken := pool.take()) is not None:
            connection, since = taken
            if connection.usable(since):
                return connection
            connection.abort()
        return None

    async def connect(self, origin: Origin, deadline: float) -> Connection:
        """Open a connection and check it out; give it up at `deadline` or after the connect timeout.

        It may be awaited by a task or by a `Run`. Cancelling it closes what
        was opened on the way. The connection's own deadline is `deadline`
        until the caller sets another.

        Raises:
            Overloaded: the origin has `max_connections` and none of them idles.
            UpstreamTimeout: name, TCP, proxy and TLS took too long.
            UpstreamTlsFailed: the handshake failed.
            UpstreamUnreachable: no connection came about.
        """
        loop = asyncio.get_running_loop()
        pool = self._pools.get(origin)
        if pool is None:
            pool = Pool(origin.label, origin.max_connections, origin.idle_timeout_s)
            self._pools[origin] = pool
        for superfluous in pool.reserve():
            superfluous.abort()
        # A task of its own, because asyncio's time limits need one and a Run is none.
        task = loop.create_task(self._open(origin, pool, deadline))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)
        try:
            connection = await task
        except BaseException:
            task.cancel()
            task.add_done_callback(_abort_late)
            raise
        finally:
            pool.unreserve()
        pool.admit(connection)
        self._shared.now = loop.time()
        if self._ticker is None and not self._closed:
            self._ticker = loop.call_later(TICK_S, self._tick)
        return connection

    def counts(self, origin: Origin) -> Counts:
        """How many connections to an origin there are, by state."""
        pool = self._pools.get(origin)
        return Counts() if pool is None else pool.counts

    def sweep(self, now: float) -> None:
        """Expire deadlines and idle connections as of `now`; the ticker's work."""
        self._shared.now = now
        for origin, pool in list(self._pools.items()):
            # Both lists are complete before the first waiter runs, which may change the pool.
            overdue, expired = pool.overdue(now), pool.expire(now)
            for connection in overdue:
                # A waiter resumed just before may have ended this one too, or moved its deadline.
                if connection.deadline <= now:
                    connection.expire()
            for connection in expired:
                connection.abort()
            if pool.empty:
                del self._pools[origin]

    async def close(self) -> None:
        """Close everything; waits that are under way raise `UpstreamCut` or are cancelled."""
        self._closed = True
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        dialling = list(self._dialling)
        for task in dialling:
            task.cancel()
        await asyncio.gather(*dialling, return_exceptions=True)
        for pool in self._pools.values():
            for connection in pool.drain():
                connection.abort()
        self._pools.clear()
        await self._resolver.close()
        # One round of the loop, in which the transports close their sockets.
        await asyncio.sleep(0)

    async def _open(self, origin: Origin, pool: Pool[Connection], deadline: float) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(pool, self._shared, origin.label)
        connection.deadline = deadline
        limit = min(deadline, loop.time() + origin.connect_timeout_s)
        try:
            async with asyncio.timeout_at(limit):
                await self._dial(origin, connection, self._resolver, self._contexts)
        except TimeoutError as error:
            connection.abort()
            raise UpstreamTimeout(f"{origin.label}: no connection in time") from error
        except BaseException:
            connection.abort()
            raise
        return connection

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self.sweep(loop.time())
        self._ticker = loop.call_later(TICK_S, self._tick) if self._pools else None


def _abort_late(task: asyncio.Task[Connection]) -> None:
    """Close a connection that came about when nobody waited for it any more."""
    if not task.cancelled() and task.exception() is None:
        task.result().abort()
