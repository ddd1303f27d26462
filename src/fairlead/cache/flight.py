"""One answer under way, and everybody who wants it.

A `Flight` is the growing answer of one upstream call. Whoever drives the call
appends to it; each who wants the answer has a `Seat` and reads at its own
pace, from the first byte on whenever it came. When the last seat is given up
the call is cancelled; until then it goes on, whoever began it.

What has been read by everybody is only forgotten once the answer is longer
than `room`: then nobody can join any more, whoever is `room` behind the
fastest is cut off, and the fastest sets the pace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from fairlead.cache.entry import Entry, Facts, Found
from fairlead.net.run import Signal

_AHEAD_BYTES: Final = 262_144
"""How far the call may be ahead of the fastest reader before it waits."""


class Seat:
    """Somebody's place in a flight. Mutable; give it up with `leave`, in every case."""

    __slots__ = ("_flight", "_next", "cut", "read", "signal")

    def __init__(self, flight: Flight) -> None:
        self._flight = flight
        self._next = 0
        self.read = 0
        """Bytes taken so far."""
        self.signal = Signal()
        """Fires whenever there may be something new."""
        self.cut = False
        """It was too slow: what it has not read is gone."""

    def take(self) -> bytes:
        """What has been added since the last time; b"" for nothing."""
        flight = self._flight
        parts = flight._parts[self._next - flight._first :]
        if not parts:
            return b""
        self._next += len(parts)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self.read += len(data)
        flight._was_read()
        return data

    def leave(self) -> None:
        """Give the place up."""
        self._flight._left(self)


class Flight:
    """The answer of one call. Mutable; belongs to one event loop."""

    __slots__ = (
        "_first", "_gone", "_parts", "_seats", "body", "cancel", "end", "entry", "error", "facts", "form",
        "landed", "length", "opening", "over", "readable", "room", "similar",
    )  # fmt: skip

    def __init__(self, *, room: int, form: object, gone: Callable[[], None]) -> None:
        """Nothing has come yet.

        Args:
            room: the longest answer, in bytes, that is held whole.
            form: what the pieces are; a reader who wants another form waits for `body`.
            gone: called when nobody can join any more.
        """
        self.room = room
        self.form = form
        self.opening: bytes | None = None
        """Header lines of the answer; None before it has begun."""
        self.entry: Entry | None = None
        """The answer, where it had been kept before."""
        self.similar: Found | None = None
        """Set when that was for another question, which means the same."""
        self.body: bytes | None = None
        """The whole answer, once it has landed; None when it cannot be had in one piece."""
        self.facts: Facts | None = None
        """What the answer took, once it has landed."""
        self.landed = False
        self.error: BaseException | None = None
        """Why there is no (more) answer."""
        self.length = 0
        """Bytes added so far."""
        self.over = False
        """Landed, or failed."""
        self.cancel: Callable[[], object] | None = None
        """Ends the call; set by whoever drives it."""
        self.end: Callable[[], object] | None = None
        """Called once when it is over."""
        self.readable = Signal()
        """Fires when a reader has caught up."""
        self._parts: list[bytes] = []
        self._first = 0
        self._seats: list[Seat] = []
        self._gone: Callable[[], None] | None = gone

    @property
    def seats(self) -> int:
        """How many want the answer."""
        return len(self._seats)

    def join(self) -> Seat:
        """Take part, from the first byte on."""
        seat = Seat(self)
        self._seats.append(seat)
        return seat

    def add(self, data: bytes) -> None:
        """The next piece has come."""
        self._parts.append(data)
        self.length += len(data)
        if self.length > self.room:
            self._close()
            self._trim()
        self._tell()

    @property
    def ahead(self) -> bool:
        """The call is too far ahead of everybody: wait for `readable`."""
        return bool(self._seats) and self.length - self._fastest() > _AHEAD_BYTES

    def whole(self) -> bytes | None:
        """All that has come; None when its beginning is forgotten."""
        return None if self.length > self.room else b"".join(self._parts)

    def land(self, body: bytes | None, facts: Facts | None) -> None:
        """The answer is complete."""
        self.body, self.facts = body, facts
        self.landed = True
        self._finish()

    def found(self, entry: Entry, similar: Found | None = None) -> None:
        """There was an answer already, perhaps to a question that means the same."""
        self.entry, self.similar = entry, similar
        self._finish()

    def fail(self, error: BaseException) -> None:
        """There will be no (more) answer. Does nothing when it is over."""
        if not self.over:
            self.error = error
            self._finish()

    def _finish(self) -> None:
        self.over = True
        self._close()
        end, self.end = self.end, None
        if end is not None:
            end()
        self._tell()

    def _close(self) -> None:
        gone, self._gone = self._gone, None
        if gone is not None:
            gone()

    def _tell(self) -> None:
        # Who is told may leave at once.
        for seat in tuple(self._seats):
            seat.signal.fire()

    def _fastest(self) -> int:
        return max((seat.read for seat in self._seats), default=0)

    def _trim(self) -> None:
        """Forget what everybody has read, and whoever is too far behind."""
        oldest = self._fastest() - self.room
        for seat in self._seats:
            seat.cut = seat.cut or seat.read < oldest
        first = _slowest((seat for seat in self._seats if not seat.cut), self._first + len(self._parts))
        del self._parts[: first - self._first]
        self._first = first

    def _was_read(self) -> None:
        if not self.ahead:
            self.readable.fire()

    def _left(self, seat: Seat) -> None:
        if seat not in self._seats:
            return
        self._seats.remove(seat)
        if self._seats or self.over:
            self._was_read()
            return
        self._close()
        if self.cancel is not None:
            self.cancel()


def _slowest(seats: Iterable[Seat], newest: int) -> int:
    return min((seat._next for seat in seats), default=newest)


class Flights:
    """Which answers are under way, by the key of their request."""

    def __init__(self) -> None:
        self._under_way: dict[bytes, Flight] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def find(self, key: bytes) -> Flight | None:
        """The answer to the same request that is under way; None for none that can be joined."""
        return self._under_way.get(key)

    def begin(self, key: bytes, *, room: int, form: object) -> Flight:
        """An answer begins to be made."""
        flight = Flight(room=room, form=form, gone=lambda: self._forget(key, flight))
        self._under_way[key] = flight
        return flight

    def _forget(self, key: bytes, flight: Flight) -> None:
        if self._under_way.get(key) is flight:
            del self._under_way[key]
