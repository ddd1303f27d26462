"""Which connections of one upstream exist, and who has them.

State only: no method does I/O or reads a clock. Where connections have to be
closed as a consequence they are returned, and the caller closes them.

Every connection is in exactly one of three states, and all three count
towards the limit: being opened (a number), active (somebody has it) or idle.
The most recently used idle connection is handed out first, so that the ones
a lull makes superfluous grow old and expire.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import msgspec

from fairlead.errors import Overloaded


class Pooled(Protocol):
    """What a pool needs to know of a connection."""

    deadline: float


C = TypeVar("C", bound=Pooled)


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many connections of one upstream there are."""

    idle: int = 0
    active: int = 0
    opening: int = 0


class Pool(Generic[C]):
    """The connections of one origin."""

    __slots__ = ("_active", "_idle", "_idle_timeout_s", "_label", "_limit", "_opening")

    def __init__(self, label: str, limit: int, idle_timeout_s: float) -> None:
        self._label = label
        self._limit = limit
        self._idle_timeout_s = idle_timeout_s
        self._opening = 0
        self._active: set[C] = set()
        # Insertion order is age: the first is the oldest, popitem() takes the newest, and a
        # connection that the peer closed is removed from the middle at no cost.
        self._idle: dict[C, float] = {}

    @property
    def counts(self) -> Counts:
        return Counts(idle=len(self._idle), active=len(self._active), opening=self._opening)

    @property
    def empty(self) -> bool:
        return not (self._idle or self._active or self._opening)

    def take(self) -> tuple[C, float] | None:
        """Check out the newest idle connection; with it, since when it idled."""
        if not self._idle:
            return None
        taken = self._idle.popitem()
        self._active.add(taken[0])
        return taken

    def put(self, connection: C, now: float) -> None:
        """Take a connection back as idle."""
        self._active.discard(connection)
        self._idle[connection] = now

    def discard(self, connection: C) -> None:
        """Forget a connection that is closed, in whichever state it was."""
        self._active.discard(connection)
        self._idle.pop(connection, None)

    def reserve(self) -> list[C]:
        """Count one connection as being opened; return idle ones to close for it.

        Raises:
            Overloaded: the limit is reached and nothing idles.
        """
        evicted: list[C] = []
        if len(self._active) + len(self._idle) + self._opening >= self._limit:
            if not self._idle:
                raise Overloaded(
                    f"all {self._limit} connections to {self._label} are in use",
                    hint="raise `max_connections` of the provider, or add a target",
                )
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            evicted.append(oldest)
        self._opening += 1
        return evicted

    def unreserve(self) -> None:
        """The attempt to open a connection has ended, well or not."""
        self._opening -= 1

    def admit(self, connection: C) -> None:
        """Count a newly opened connection as active."""
        self._active.add(connection)

    def overdue(self, now: float) -> list[C]:
        """Active connections whose deadline has passed."""
        return [connection for connection in self._active if connection.deadline <= now]

    def expire(self, now: float) -> list[C]:
        """Remove and return the connections that have idled too long."""
        expired: list[C] = []
        for connection, since in self._idle.items():
            if now - since < self._idle_timeout_s:
                break
            expired.append(connection)
        for connection in expired:
            del self._idle[connection]
        return expired

    def drain(self) -> list[C]:
        """Remove and return everything."""
        everything = [*self._idle, *self._active]
        self._idle.clear()
        self._active.clear()
        return everything
