"""Local leases: most admissions of a shared store without a round trip.

A process holds a slice of every limit that is in use, at most `share` of the
limit, and admits out of its slices. The server counts a slice as taken, so
processes cannot promise the same thing twice. A request whose slices do not
suffice, or that is above them, asks the server for itself, as if there were no
leases; so what is left of a limit can be used to the end.

Slices are renewed in the background, well before they are used up or expire,
and each renewal reports what was used. One that was not used for a lifetime is
given back; those of a process that died expire after two lifetimes.

The bound: a process that is killed, or cut off for longer than that, takes
with it what it used since its last report, at most one slice of each limit
(and, as without leases, what its requests in flight had reserved). So limits
are overshot by at most processes x slice, and refuse by at most as much too
early while others hold slices that they do not use. Budgets: what is settled
after the end of a window counts in the next one when it was admitted here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from fairlead.errors import StorageError
from fairlead.limits.quota import Admitted, Ask, Limit, Refused, State, What
from fairlead.limits.redis import RedisStore

_LIFETIMES_HELD: Final = 2
"""How long the server waits for a renewal. Longer than the slice is used for, whichever clock runs fast."""
_RENEWALS: Final = 3
"""A lifetime."""


class _Slice:
    """What this process holds of one limit."""

    __slots__ = ("held", "last_used", "lease_id", "limit", "size", "state", "told", "total", "until", "whole")

    def __init__(self, limit: Limit, lease_id: str, size: int) -> None:
        self.limit = limit
        self.lease_id = lease_id
        self.size = size
        """Wanted, beside what open requests hold."""
        self.whole = 0
        """Held by the server for us, as of the last answer."""
        self.total = 0
        """Used and settled, ever."""
        self.told = 0
        """Of that, what the last answer included."""
        self.held = 0
        """Reserved by open requests."""
        self.until = 0.0
        """Monotonic: not used after that."""
        self.last_used = 0.0
        self.state: State | None = None

    @property
    def free(self) -> int:
        """What can still be taken."""
        return self.whole - (self.total - self.told) - self.held

    def shown(self) -> State:
        """The limit, as of the last answer and what was done here since."""
        state = self.state
        assert state is not None, "a slice is used after its first answer"
        free, used = self.free, self.total - self.told
        remaining = max(0, state.remaining + free)
        if self.limit.what is What.USD:
            reserved = max(0, state.reserved - self.whole + self.held)
            return State(self.limit, state.used + used, reserved, remaining, state.resets_at)
        return State(self.limit, max(0, state.used - free), 0, remaining, state.resets_at)


class LeasedStore:
    """`quota.RemoteStore` that keeps slices of `RedisStore`'s limits in this process."""

    def __init__(
        self,
        store: RedisStore,
        *,
        process: str,
        share: float,
        lifetime_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is leased yet.

        Args:
            store: the shared one.
            process: a name that no other process uses, not even this one's next life.
            share: of each limit, the size of a slice. Limits of which it is less than one are never leased.
            lifetime_s: for how long a slice is used without a word from the server.
            monotonic: a clock in seconds.
        """
        self._store = store
        self._process = process
        self._share = share
        self._lifetime_s = lifetime_s
        self._monotonic = monotonic
        self._slices: dict[str, _Slice] = {}
        self._open: dict[str, tuple[float, list[tuple[_Slice, int]]]] = {}
        self._wake = asyncio.Event()
        self._renewing: asyncio.Task[None] | None = None
        self.local = 0
        """Admissions without a round trip."""

    # --- the port ---------------------------------------------------------------------------

    async def admit(self, request_id: str, asks: Sequence[Ask], ttl_s: float) -> Admitted | Refused:
        """Out of the slices when they all suffice, else as the shared store."""
        admitted = self._admit_here(request_id, asks, ttl_s)
        if admitted is not None:
            return admitted
        answer = await self._store.admit(request_id, asks, ttl_s)
        if isinstance(answer, Admitted) and not answer.shadowed:
            for ask in asks:
                self._lease(ask)
        return answer

    async def settle(self, request_id: str, costs: Mapping[str, int]) -> tuple[State, ...]:
        """At once for what was admitted here, else as the shared store."""
        opened = self._open.pop(request_id, None)
        if opened is None:
            return await self._store.settle(request_id, costs)
        for part, cost in opened[1]:
            part.held -= cost
            if part.limit.what is not What.CONCURRENT:
                part.total += costs.get(part.limit.id, cost)
        return tuple([part.shown() for part, _ in opened[1]])

    async def release(self, request_id: str) -> None:
        """As `settle`, with nothing used."""
        opened = self._open.pop(request_id, None)
        if opened is None:
            await self._store.release(request_id)
            return
        for part, cost in opened[1]:
            part.held -= cost

    async def look(self, limits: Sequence[Limit]) -> tuple[State, ...]:
        """As the shared store: slices of all processes count as taken."""
        return await self._store.look(limits)

    def charge(self, request_id: str, asks: Sequence[Ask]) -> None:
        """As `RedisStore.charge`."""
        self._store.charge(request_id, asks)

    def keep_doubtful(self, request_id: str) -> None:
        """As `RedisStore.keep_doubtful`."""
        self._store.keep_doubtful(request_id)

    async def close(self) -> None:
        """Report what was used and give the slices back. The store is the caller's to close."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        await asyncio.gather(*[self._give_back(part) for part in list(self._slices.values())])

    # --- in this process --------------------------------------------------------------------

    def _admit_here(self, request_id: str, asks: Sequence[Ask], ttl_s: float) -> Admitted | None:
        now = self._monotonic()
        parts: list[tuple[_Slice, int]] = []
        if request_id in self._open:
            parts = self._open[request_id][1]
        else:
            low = False
            for ask in asks:
                part = self._slices.get(ask.limit.id)
                if part is None or part.limit is not ask.limit or now >= part.until or part.free < ask.cost:
                    return None
                parts.append((part, ask.cost))
                low = low or part.free - ask.cost < part.size // 2
            for part, cost in parts:
                part.held += cost
                part.last_used = now
            self._open[request_id] = (now + ttl_s, parts)
            self.local += 1
            if low:
                self._wake.set()
        states = tuple([part.shown() for part, _ in parts])
        return Admitted(request_id, states, (), self._store.believed_us() / 1e6 + ttl_s)

    def _lease(self, ask: Ask) -> None:
        """See to it that there is a slice of a limit that was admitted to."""
        limit = ask.limit
        size = int(limit.ceiling * self._share)
        if size < max(1, ask.cost):
            return
        part = self._slices.get(limit.id)
        if part is None:
            part = self._slices[limit.id] = _Slice(limit, f"lease/{self._process}/{limit.id}", size)
        elif part.limit is not limit:
            part.limit, part.size, part.until = limit, size, 0.0
        part.last_used = self._monotonic()
        self._wake.set()
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.get_running_loop().create_task(self._renew_regularly(), name="leases")

    # --- in the background ------------------------------------------------------------------

    async def _renew_regularly(self) -> None:
        """Until no slice is left."""
        while self._slices:
            try:
                async with asyncio.timeout(self._lifetime_s / _RENEWALS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            now = self._monotonic()
            self._expire(now)
            await asyncio.gather(*[self._renew(part, now) for part in list(self._slices.values())])

    async def _renew(self, part: _Slice, now: float) -> None:
        if now - part.last_used > self._lifetime_s:
            await self._give_back(part)
            return
        due = part.until - now < self._lifetime_s * (1 - 1 / _RENEWALS)
        if due or part.free < part.size // 2:
            await self._ask(part, part.held + part.size, max(part.held, part.held + part.free), now)

    async def _give_back(self, part: _Slice) -> None:
        part.until = 0.0
        if await self._ask(part, part.held, part.held, None) and part.held == 0 and part.total == part.told:
            try:
                await self._store.end_lease(part.lease_id, part.limit)
            except StorageError:
                return  # it holds nothing, and expires
            if part.held == 0 and part.total == part.told and part.until == 0.0:
                self._slices.pop(part.limit.id, None)

    async def _ask(self, part: _Slice, wanted: int, least: int, now: float | None) -> bool:
        """Renew on the server; `now` is None when the slice is not to be used any more."""
        if now is not None and now >= part.until:
            # The server may have taken it back: only what open requests hold is ours for certain.
            least, part.whole = part.held, part.held + part.total - part.told
        limit, total = part.limit, part.total
        try:
            held, state = await self._store.lease(
                part.lease_id,
                limit,
                self._lifetime_s * _LIFETIMES_HELD,
                wanted=wanted,
                least=least,
                total=total,
                told=part.told,
            )
        except StorageError:
            return False  # used until it expires; the next renewal reports the same and more
        part.whole, part.told, part.state = held, total, state
        if now is not None and part.limit is limit:
            part.until = now + self._lifetime_s
            if limit.what is What.USD and state.resets_at is not None:
                # Not beyond the window that it is of.
                part.until = min(part.until, now + state.resets_at - self._store.believed_us() / 1e6)
        return True

    def _expire(self, now: float) -> None:
        """Give back what requests hold that were never settled. In order of admission, not of expiry."""
        while self._open:
            request_id = next(iter(self._open))
            expires, parts = self._open[request_id]
            if expires > now:
                return
            del self._open[request_id]
            for part, cost in parts:
                part.held -= cost
