"""The state of one limit in memory, one class for each kind of arithmetic.

A cell answers how long a cost would have to wait, takes it, gives it back and
settles it. It knows nothing of other limits; `memory` makes them one step.
Moments and waits are whole microseconds.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from fairlead.limits import bucket
from fairlead.limits.calendar import window_at
from fairlead.limits.quota import Limit, State, What, Window

NEVER: Final = -1
"""The wait of a cost that is above the ceiling."""
_PLACE_WAIT_US: Final = 1_000_000
"""Told when every place is taken: nobody knows when one becomes free, so ask again soon."""

Saved = tuple[int, int, int, int]
"""A cell's numbers, in the order of its class; unused ones are 0."""


class Part(msgspec.Struct, frozen=True, gc=False):
    """What a reservation holds of one limit."""

    limit: Limit
    """As it was when the reservation was made."""
    cost: int
    start_us: int = 0
    """Of budgets: when the window began in which it was made."""


class Cell(Protocol):
    """What every kind of limit can do."""

    limit: Limit

    def configure(self, limit: Limit) -> None:
        """Go on under a changed limit of the same id."""
        ...

    def wait_us(self, cost: int, now: int) -> int:
        """How long until the cost fits, if nobody else takes any; 0 when it does, `NEVER` when it cannot."""
        ...

    def take(self, cost: int, now: int) -> Part:
        """Reserve a cost, whether it fits or not."""
        ...

    def settle(self, part: Part, actual: int, now: int) -> None:
        """Replace what was reserved by the actual cost."""
        ...

    def give_back(self, part: Part, now: int) -> None:
        """Undo a reservation that was not used."""
        ...

    def expire(self, part: Part, now: int) -> Part:
        """End a reservation that nobody settled; what a late settlement replaces."""
        ...

    def state(self, now: int) -> State:
        """For those who look."""
        ...

    def idle(self, now: int) -> bool:
        """Whether forgetting the cell would change nothing."""
        ...

    def saved(self) -> Saved:
        """The numbers to keep."""
        ...

    def restore(self, saved: Saved, ago_us: int, now: int) -> None:
        """Take kept numbers back.

        Args:
            saved: from `saved`.
            ago_us: by how much the clock was set back since they were kept; 0 when it was not.
            now: the time.
        """
        ...


class RateCell:
    """Requests or tokens per period."""

    __slots__ = ("_tolerance_us", "limit", "tat")

    def __init__(self, limit: Limit) -> None:
        self.tat = 0
        self.configure(limit)

    def configure(self, limit: Limit) -> None:
        self.limit = limit
        self._tolerance_us = bucket.cost_us(limit.burst, limit.amount, limit.period_s)

    def wait_us(self, cost: int, now: int) -> int:
        limit = self.limit
        if cost > limit.burst:
            return NEVER
        refill_us = bucket.cost_us(cost, limit.amount, limit.period_s)
        return bucket.wait_us(self.tat, now, refill_us, self._tolerance_us)

    def take(self, cost: int, now: int) -> Part:
        limit = self.limit
        self.tat = bucket.take(self.tat, now, bucket.cost_us(cost, limit.amount, limit.period_s))
        return Part(limit, cost)

    def settle(self, part: Part, actual: int, now: int) -> None:
        # At the rate that was in force when it was reserved, whatever it is now.
        amount, period_s = part.limit.amount, part.limit.period_s
        more = bucket.cost_us(actual, amount, period_s) - bucket.cost_us(part.cost, amount, period_s)
        if more > 0:
            self.tat = bucket.take(self.tat, now, more)
        elif more < 0:
            self.tat = bucket.give_back(self.tat, now, -more)

    def give_back(self, part: Part, now: int) -> None:
        self.settle(part, 0, now)

    def expire(self, part: Part, now: int) -> Part:
        if part.limit.what is What.REQUESTS:
            return part
        self.settle(part, 0, now)
        return Part(part.limit, 0)

    def state(self, now: int) -> State:
        limit = self.limit
        tat = self.tat
        if tat <= now:
            return State(limit, 0, 0, limit.burst, now / 1e6)
        free = bucket.free(tat, now, self._tolerance_us, limit.amount, limit.period_s)
        return State(limit, limit.burst - free, 0, free if free > 0 else 0, tat / 1e6)

    def idle(self, now: int) -> bool:
        return self.tat <= now

    def saved(self) -> Saved:
        return self.tat, 0, 0, 0

    def restore(self, saved: Saved, ago_us: int, now: int) -> None:
        self.tat = saved[0] - ago_us


class BudgetCell:
    """Money in a window of the calendar."""

    __slots__ = ("_window", "end", "limit", "reserved", "start", "used")

    def __init__(self, limit: Limit) -> None:
        self.start = self.end = self.used = self.reserved = 0
        self.configure(limit)

    def configure(self, limit: Limit) -> None:
        self.limit = limit
        self._window = limit.window or Window.MONTH

    def _roll(self, now: int) -> None:
        """Begin the window that holds `now` when the last has ended; what was reserved there stays there."""
        if now >= self.end:
            self.start, self.end = window_at(self._window, self.limit.timezone, now)
            self.used = self.reserved = 0

    def wait_us(self, cost: int, now: int) -> int:
        self._roll(now)
        if self.used + self.reserved + cost <= self.limit.amount:
            return 0
        return NEVER if cost > self.limit.amount else self.end - now

    def take(self, cost: int, now: int) -> Part:
        self._roll(now)
        self.reserved += cost
        return Part(self.limit, cost, self.start)

    def settle(self, part: Part, actual: int, now: int) -> None:
        self._roll(now)
        if part.start_us == self.start:
            self.reserved -= part.cost
            self.used += actual

    def give_back(self, part: Part, now: int) -> None:
        self.settle(part, 0, now)

    def expire(self, part: Part, now: int) -> Part:
        self.settle(part, 0, now)
        return Part(part.limit, 0, part.start_us)

    def state(self, now: int) -> State:
        self._roll(now)
        free = self.limit.amount - self.used - self.reserved
        return State(self.limit, self.used, self.reserved, free if free > 0 else 0, self.end / 1e6)

    def idle(self, now: int) -> bool:
        return now >= self.end or not (self.used or self.reserved)

    def saved(self) -> Saved:
        return self.start, self.end, self.used, self.reserved

    def restore(self, saved: Saved, ago_us: int, now: int) -> None:
        self.start, self.end, self.used, self.reserved = saved
        if self.start > now:
            # Kept while the clock was ahead: what was spent counts in the window that it really is.
            self.start, self.end = window_at(self._window, self.limit.timezone, now)


class PlacesCell:
    """Requests under way."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: Limit) -> None:
        self.held = 0
        self.configure(limit)

    def configure(self, limit: Limit) -> None:
        self.limit = limit

    def wait_us(self, cost: int, now: int) -> int:
        if self.held + cost <= self.limit.amount:
            return 0
        return NEVER if cost > self.limit.amount else _PLACE_WAIT_US

    def take(self, cost: int, now: int) -> Part:
        self.held += cost
        return Part(self.limit, cost)

    def settle(self, part: Part, actual: int, now: int) -> None:
        self.held -= part.cost

    def give_back(self, part: Part, now: int) -> None:
        self.held -= part.cost

    def expire(self, part: Part, now: int) -> Part:
        self.held -= part.cost
        return Part(part.limit, 0)

    def state(self, now: int) -> State:
        return State(self.limit, self.held, 0, max(0, self.limit.amount - self.held), None)

    def idle(self, now: int) -> bool:
        return self.held == 0

    def saved(self) -> Saved:
        return self.held, 0, 0, 0

    def restore(self, saved: Saved, ago_us: int, now: int) -> None:
        self.held = saved[0]


def cell_for(limit: Limit) -> Cell:
    """A fresh cell for a limit."""
    if limit.what is What.USD:
        return BudgetCell(limit)
    if limit.what is What.CONCURRENT:
        return PlacesCell(limit)
    return RateCell(limit)
