"""`Store` in process: the state of every limit, and one atomic step over many.

Atomic because it is synchronous: nothing else runs between the first look at
a limit and the last change. Cells exist for limits that were touched and are
forgotten when that changes nothing any more; the `Limit` of an ask is the one
in force, so a reload needs no word here.

A reservation that expired leaves a trace for an hour, so that a settlement
that comes late still charges what was used. `changes` and `restore` are how
`saved` keeps the state over restarts.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from fairlead.limits.cells import NEVER, BudgetCell, Cell, Part, Saved, cell_for
from fairlead.limits.quota import Admitted, Ask, Limit, Refused, State, What

_US: Final = 1_000_000
_TRACE_US: Final = 3600 * _US
_MOST_TRACES: Final = 100_000
_FIRST_SWEEP: Final = 1024
"""Cells at which the first search for idle ones is made."""
_SLACK: Final = 64
"""Settled reservations that may wait in the queue of expiries beyond the open ones."""


class Reservation(msgspec.Struct, frozen=True, gc=False):
    """What a request holds."""

    expires_us: int
    parts: tuple[Part, ...]


class KeptCell(msgspec.Struct, frozen=True, gc=False):
    """A limit's state as it is saved."""

    limit: Limit
    numbers: Saved


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What differs from the last time: by id, None for what is gone."""

    at_us: int
    cells: dict[str, KeptCell | None]
    reservations: dict[str, Reservation | None]


class MemoryStore:
    """`quota.Store` in this process."""

    def __init__(self, clock: Callable[[], int], *, tracked: bool = False) -> None:
        """An empty store.

        Args:
            clock: Unix microseconds that never run backwards, such as `clock.ForwardClock`.
            tracked: remember what changes, for `changes`; whoever asks for it must take it.
        """
        self._clock = clock
        self._tracked = tracked
        self._cells: dict[str, Cell] = {}
        self._open: dict[str, Reservation] = {}
        self._due: list[tuple[int, str]] = []
        self._traces: dict[str, Reservation] = {}
        self._sweep_at = _FIRST_SWEEP
        self._changed_cells: set[str] = set()
        self._changed_reservations: set[str] = set()

    def __len__(self) -> int:
        """Open reservations."""
        return len(self._open)

    # --- the port -------------------------------------------------------------------------------

    def admit(self, request_id: str, asks: Sequence[Ask], ttl_s: float) -> Admitted | Refused:
        now = self._now()
        again = self._open.get(request_id)
        if again is not None:
            states = tuple([self._held(part).state(now) for part in again.parts])
            return Admitted(request_id, states, (), again.expires_us / _US)
        if len(self._cells) >= self._sweep_at:
            self._sweep(now)
        refused: Refused | None = None
        shadowed: list[Refused] = []
        fitting: list[tuple[Cell, int]] = []
        for ask in asks:
            cell, cost = self._cell(ask.limit), ask.cost
            wait = cell.wait_us(cost, now)
            if wait == 0:
                fitting.append((cell, cost))
            elif ask.limit.shadow:
                shadowed.append(_refused(cell, cost, wait, now))
            else:
                refused = _longer(refused, _refused(cell, cost, wait, now))
        if refused is not None:
            return refused
        parts = tuple([cell.take(cost, now) for cell, cost in fitting])
        expires = now + int(ttl_s * _US)
        self._open[request_id] = Reservation(expires, parts)
        self._traces.pop(request_id, None)
        heapq.heappush(self._due, (expires, request_id))
        if self._tracked:
            self._note(request_id, parts)
        states = tuple([self._cells[ask.limit.id].state(now) for ask in asks])
        return Admitted(request_id, states, tuple(shadowed), expires / _US)

    def settle(self, request_id: str, costs: Mapping[str, int]) -> tuple[State, ...]:
        now = self._now()
        reservation = self._end(request_id, now)
        if reservation is None:
            return ()
        states = []
        for part in reservation.parts:
            cell = self._held(part)
            cell.settle(part, costs.get(part.limit.id, part.cost), now)
            states.append(cell.state(now))
        return tuple(states)

    def release(self, request_id: str) -> None:
        now = self._now()
        reservation = self._end(request_id, now)
        if reservation is not None:
            for part in reservation.parts:
                self._held(part).give_back(part, now)

    def look(self, limits: Sequence[Limit]) -> tuple[State, ...]:
        now = self._now()
        states = []
        for limit in limits:
            cell = self._cells.get(limit.id)
            if cell is None:
                cell = cell_for(limit)
            elif cell.limit is not limit:
                cell.configure(limit)
            states.append(cell.state(now))
        return tuple(states)

    # --- to be kept -----------------------------------------------------------------------------

    def changes(self) -> Changes:
        """What changed since the last call, as of one moment. Needs `tracked`."""
        now = self._now()
        cells = {
            name: None if (cell := self._cells.get(name)) is None else KeptCell(cell.limit, cell.saved())
            for name in self._changed_cells
        }
        reservations = {name: self._open.get(name) for name in self._changed_reservations}
        self._changed_cells = set()
        self._changed_reservations = set()
        return Changes(at_us=now, cells=cells, reservations=reservations)

    def changed_again(self, changes: Changes) -> None:
        """Take changes back that could not be kept: the next `changes` has them too, as they are then."""
        self._changed_cells.update(changes.cells)
        self._changed_reservations.update(changes.reservations)

    def restore(
        self, cells: Iterable[KeptCell], reservations: Mapping[str, Reservation], kept_at_us: int
    ) -> None:
        """Go on from what was kept; only for a store that was not used yet.

        Reservations count until they expire, except that their places are free: who held them is gone.
        If the clock was set back meanwhile, what was kept is moved back with it.
        """
        now = self._clock()
        ago_us = max(0, kept_at_us - now)
        for kept in cells:
            if kept.limit.what is What.CONCURRENT:
                self._changed_cells.add(kept.limit.id)
                continue
            cell = cell_for(kept.limit)
            cell.restore(kept.numbers, ago_us, now)
            self._cells[kept.limit.id] = cell
        for request_id, kept_reservation in reservations.items():
            parts = [self._restored(part, now) for part in kept_reservation.parts if _outlives(part)]
            expires = kept_reservation.expires_us - ago_us
            self._open[request_id] = Reservation(expires, tuple(parts))
            self._due.append((expires, request_id))
        heapq.heapify(self._due)
        self._sweep(now)

    # --- inside ---------------------------------------------------------------------------------

    def _now(self) -> int:
        """The time, with everything ended that has expired by then."""
        now = self._clock()
        due = self._due
        while due and due[0][0] <= now:
            self._expire(*heapq.heappop(due), now)
        return now

    def _restored(self, part: Part, now: int) -> Part:
        """A kept part; one of a window that has not begun moves to where `BudgetCell.restore` moved that."""
        cell = self._held(part)
        if part.start_us > now and isinstance(cell, BudgetCell):
            return Part(part.limit, part.cost, cell.start)
        return part

    def _cell(self, limit: Limit) -> Cell:
        """The cell of a limit that is in force."""
        cell = self._cells.get(limit.id)
        if cell is None:
            cell = self._cells[limit.id] = cell_for(limit)
        elif cell.limit is not limit:
            cell.configure(limit)
        return cell

    def _held(self, part: Part) -> Cell:
        """The cell that a reservation holds something of; its limit may be another by now."""
        cell = self._cells.get(part.limit.id)
        if cell is None:
            cell = self._cells[part.limit.id] = cell_for(part.limit)
        return cell

    def _end(self, request_id: str, now: int) -> Reservation | None:
        """Take an open or expired reservation out; None when there is none (any more)."""
        reservation = self._open.pop(request_id, None)
        if reservation is None:
            reservation = self._traces.pop(request_id, None)
            if reservation is None or reservation.expires_us + _TRACE_US <= now:
                return None
        elif len(self._due) > 2 * len(self._open) + _SLACK:
            self._due = [(open_.expires_us, name) for name, open_ in self._open.items()]
            heapq.heapify(self._due)
        if self._tracked:
            self._note(request_id, reservation.parts)
        return reservation

    def _expire(self, expires_us: int, request_id: str, now: int) -> None:
        reservation = self._open.get(request_id)
        if reservation is None or reservation.expires_us != expires_us:
            return
        del self._open[request_id]
        parts = [self._held(part).expire(part, now) for part in reservation.parts]
        traces = self._traces
        traces[request_id] = Reservation(expires_us, tuple(parts))
        # The oldest come first, since they expired first.
        while traces:
            name = next(iter(traces))
            if len(traces) <= _MOST_TRACES and traces[name].expires_us + _TRACE_US > now:
                break
            del traces[name]
        if self._tracked:
            self._note(request_id, reservation.parts)

    def _sweep(self, now: int) -> None:
        """Forget idle cells. Done when their number has doubled, so it costs each new one a constant."""
        idle = [name for name, cell in self._cells.items() if cell.idle(now)]
        for name in idle:
            del self._cells[name]
        if self._tracked:
            self._changed_cells.update(idle)
        self._sweep_at = max(_FIRST_SWEEP, 2 * len(self._cells))

    def _note(self, request_id: str, parts: tuple[Part, ...]) -> None:
        self._changed_reservations.add(request_id)
        self._changed_cells.update([part.limit.id for part in parts])


def _outlives(part: Part) -> bool:
    """Whether a part still counts when the process that held it is gone."""
    return part.limit.what is not What.CONCURRENT


def _refused(cell: Cell, cost: int, wait_us: int, now: int) -> Refused:
    return Refused(cell.state(now), cost, None if wait_us == NEVER else wait_us / _US)


def _longer(first: Refused | None, second: Refused) -> Refused:
    """Of two refusals the one that lasts longer; for ever is longest, and the first of equals."""
    if first is None:
        return second
    if first.retry_after_s is None or second.retry_after_s is None:
        return first if first.retry_after_s is None else second
    return first if first.retry_after_s >= second.retry_after_s else second
