"""Connections to one Postgres server, made when they are needed and kept.

At most `size` at a time; who comes later waits. A connection that has failed
in any way that leaves its state in doubt is thrown away. After a failure to
connect nobody tries again before a pause, which doubles up to
`_LONGEST_PAUSE_S`: callers are told at once, with the error of the last try,
so that an outage costs neither a storm of connections nor anybody's time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from fairlead.errors import StorageError

Connection = Any
"""asyncpg ships no types."""

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
_STALE_S: Final = 300.0
"""A connection that nobody used for so long is closed: firewalls on the way may have forgotten it."""


class Backoff:
    """When the server may be connected to again. Shared by the pools of one server."""

    __slots__ = ("_failures", "_last", "_retry_at")

    def __init__(self) -> None:
        self._failures = 0
        self._retry_at = 0.0
        self._last: StorageError | None = None

    def check(self, now: float) -> None:
        """Raise the last failure's StorageError when it is too early for another try."""
        if self._last is not None and now < self._retry_at:
            raise type(self._last)(self._last.message, hint=self._last.hint)

    def failed(self, error: StorageError, now: float) -> None:
        """Remember that a connection could not be made at `now` (monotonic seconds)."""
        pause_s = min(_FIRST_PAUSE_S * 2 ** min(self._failures, 16), _LONGEST_PAUSE_S)
        self._failures += 1
        self._retry_at = now + pause_s
        self._last = error

    def succeeded(self) -> None:
        """Forget failures."""
        self._failures, self._retry_at, self._last = 0, 0.0, None


class Pool:
    """Connections of one kind."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        *,
        size: int,
        backoff: Backoff,
        clock: Callable[[], float],
    ) -> None:
        """Nothing is connected to yet.

        Args:
            connect: makes a connection; raises StorageError.
            size: most connections at a time.
            backoff: of the server.
            clock: monotonic seconds.
        """
        self._connect = connect
        self._places = asyncio.Semaphore(size)
        self._backoff = backoff
        self._clock = clock
        self._idle: deque[tuple[Connection, float]] = deque()

    async def take(self) -> Connection:
        """A connection, to be given back with `put` or `drop`.

        Raises:
            StorageError: the server cannot be reached.
        """
        await self._places.acquire()
        try:
            self._close_stale()
            while self._idle:
                connection, _ = self._idle.pop()
                if not connection.is_closed():
                    return connection
            self._backoff.check(self._clock())
            try:
                connection = await self._connect()
            except StorageError as error:
                self._backoff.failed(error, self._clock())
                raise
            self._backoff.succeeded()
            return connection
        except BaseException:
            self._places.release()
            raise

    def put(self, connection: Connection) -> None:
        """Give back a connection that is as it was."""
        if not connection.is_closed():
            self._idle.append((connection, self._clock()))
        self._places.release()

    def drop(self, connection: Connection) -> None:
        """Give back a connection that nobody should use again."""
        connection.terminate()
        self._places.release()

    async def close(self, timeout_s: float) -> None:
        """Close what is idle."""
        while self._idle:
            connection, _ = self._idle.pop()
            # Terminates the connection when saying good-bye takes too long.
            try:
                await connection.close(timeout=timeout_s)
            except (OSError, TimeoutError):
                connection.terminate()

    def _close_stale(self) -> None:
        now = self._clock()
        while self._idle and now - self._idle[0][1] > _STALE_S:
            connection, _ = self._idle.popleft()
            connection.terminate()
