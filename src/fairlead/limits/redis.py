"""`RemoteStore` on Redis or Valkey: the state that several gateways share.

Every call is one round trip of one script, `redis.lua`, which decides over all
limits of a path and changes them in one step. Three keys hold a tree of
tenants: `PREFIX{limits/ROOT}:state`, `:open` and `:due`. The braces are a hash
tag, so a tree is on one server of a cluster and its script may touch all of it.

Time is the server's. Windows of the calendar are computed here, where the time
zones are, for the moment that the server is believed to be in; the script
takes the one that holds its own time, this or the next, and refuses both when
neither does. A gateway with a wrong clock so costs itself a second round trip,
with bounds for the time it was told, and nobody anything else.

A call that failed may have been carried out. What must not stay undone is
repeated when the server answers again: taking back an admission in doubt (or
it expires by itself), settlements, and charges for what was admitted without
the server. Nothing is added up twice, because a record is there for one
settlement only, and `seed` sets only what is not there. A reservation that
expires while the server is away, before its settlement can be told, may lose
its place to another: reservations should outlast requests by the longest outage
that budgets are to be exact over.

What a crash of the server can forget is up to its persistence: with
`appendonly yes` a killed server forgets nothing, and a power failure the last
second or two (`appendfsync everysec`) or nothing (`always`). Without
persistence a restart forgets every limit, and `seed` brings back budgets.
Keys have no time to live, so `noeviction` and the `volatile-*` policies keep them.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any, Final

import msgspec

from fairlead.errors import StorageError
from fairlead.limits import bucket
from fairlead.limits.calendar import window_at
from fairlead.limits.cells import NEVER, cell_for
from fairlead.limits.quota import Admitted, Ask, Limit, Refused, State, What, Window
from fairlead.storage.redis import RedisServer, Script

_US: Final = 1_000_000
_KINDS: Final = {What.REQUESTS: "r", What.TOKENS: "t", What.USD: "u", What.CONCURRENT: "c"}
_SWEEP_S: Final = 1.0
_TRACE_S: Final = 3600.0
"""How long an expired reservation can still be settled, as in the script."""
_MOST_LATER: Final = 100_000
_LATER_AT_ONCE: Final = 500
_PAUSE_S: Final = 1.0
_MOST_US: Final = 10**14
_MOST_MICROUSD: Final = 2 * 10**15
"""No cost is larger: sums stay below 2^53, up to where the script counts exactly."""


class _Held(msgspec.Struct, frozen=True, gc=False):
    """A reservation that this process made: what to translate its settlement with."""

    root: str
    limits: dict[str, Limit]
    until: float
    """Monotonic: after that nothing is left to settle."""


class RedisStore:
    """`quota.RemoteStore` on one server or cluster. Use it from one event loop."""

    def __init__(
        self,
        server: RedisServer,
        *,
        prefix: str = "fairlead:",
        wall_ns: Callable[[], int] = time.time_ns,
        calendar: Callable[[Window, str, int], tuple[int, int]] = window_at,
    ) -> None:
        """No call is made yet.

        Args:
            server: where the state is.
            prefix: what every key begins with.
            wall_ns: this machine's clock, a first guess of the server's, until it has answered.
            calendar: `calendar.window_at`, or another one.
        """
        self._server = server
        self._prefix = prefix
        self._wall_ns = wall_ns
        self._calendar = calendar
        self._script = Script((resources.files("fairlead.limits") / "redis.lua").read_text())
        self._encode = msgspec.msgpack.Encoder().encode
        self._ahead_us: int | None = None
        """The server's clock less our monotonic one."""
        self._windows: dict[tuple[Window, str], tuple[int, int, int]] = {}
        self._held: dict[str, _Held] = {}
        self._sweep_at = 0.0
        self._later: dict[str, tuple[str, str, list[Any]]] = {}
        self._delivery: asyncio.Task[None] | None = None
        self.delivered_later = 0
        """Settlements, releases and charges that had to wait for the server to come back."""
        self.dropped = 0
        """Those that were given up, because too many waited."""

    @property
    def up(self) -> bool:
        """Whether the server is not known to be gone."""
        return self._server.up

    # --- the port ---------------------------------------------------------------------------

    async def admit(self, request_id: str, asks: Sequence[Ask], ttl_s: float) -> Admitted | Refused:
        """Take every cost, or none, in one round trip.

        When it fails, or the caller is cancelled, what may have been taken is given back later.
        """
        if not asks:
            return Admitted(request_id, (), (), self.believed_us() / _US + ttl_s)
        root = asks[0].limit.root
        ttl_us = int(ttl_s * _US)
        answer = await self._admit(
            root, request_id, lambda: [request_id, ttl_us, [self._wire(ask) for ask in asks]]
        )
        now = answer[1]
        if answer[0] == "refused":
            (index, wait), values = answer[2], answer[3]
            return _refused(asks[index], values[index], wait, now)
        expires, values, shadowed = answer[2:]
        until = time.monotonic() + ttl_s + _TRACE_S
        self._remember(request_id, _Held(root, {ask.limit.id: ask.limit for ask in asks}, until))
        return Admitted(
            request_id,
            tuple([_state(ask.limit, value, now) for ask, value in zip(asks, values, strict=True)]),
            tuple([_refused(asks[index], values[index], wait, now) for index, wait in shadowed]),
            expires / _US,
        )

    async def settle(self, request_id: str, costs: Mapping[str, int]) -> tuple[State, ...]:
        """As `Store.settle`, for reservations of this process. Does not fail: without the server it
        returns nothing, and the settlement is made when it is back."""
        held = self._held.pop(request_id, None)
        if held is None:
            return ()
        charges = {name: _amount(limit, costs[name]) for name, limit in held.limits.items() if name in costs}
        answer = await self._now_or_later(request_id, "settle", held.root, [request_id, charges])
        if answer is None:
            return ()
        return tuple([_state(held.limits[name], value, answer[1]) for name, value in answer[2]])

    async def release(self, request_id: str) -> None:
        """As `Store.release`, for reservations of this process; like `settle` it does not fail."""
        held = self._held.pop(request_id, None)
        if held is not None:
            await self._now_or_later(request_id, "release", held.root, [request_id, 0])

    async def look(self, limits: Sequence[Limit]) -> tuple[State, ...]:
        """As `Store.look`, one round trip for each tree."""
        trees: dict[str, list[Limit]] = {}
        for limit in limits:
            trees.setdefault(limit.root, []).append(limit)
        found: dict[str, State] = {}
        for root, members in trees.items():
            answer = await self._look(root, members)
            for limit, value in zip(members, answer[2], strict=True):
                found[limit.id] = _state(limit, value, answer[1])
        return tuple([found[limit.id] for limit in limits])

    # --- beyond the port --------------------------------------------------------------------

    async def seed(self, limit: Limit, used: int) -> bool:
        """Set what a budget's window has spent, from the ledger, if the server has nothing of that window.

        An absolute value, set once by whoever comes first; true when it was this call.
        """
        answer = await self._ask(limit.root, "seed", lambda: [self._wire(Ask(limit, used))])
        return bool(answer[2])

    async def lease(
        self, lease_id: str, limit: Limit, ttl_s: float, *, wanted: int, least: int, total: int, told: int
    ) -> tuple[int, State]:
        """Hold a slice of a limit, or hold it longer, and report what was used of it. See `lease`.

        Args:
            lease_id: one for each process and limit.
            limit: what is held of.
            ttl_s: after which the server takes it back.
            wanted: to hold, if the limit has that much left.
            least: to hold in any case: no more than the last answer left of it, or than open requests need.
            total: all that was ever used under this lease.
            told: the total of the last call that was answered.

        Returns:
            What is held now, and the state, in which that counts as taken.
        """
        numbers = [_amount(limit, number) for number in (total, told, least)]

        def arguments() -> list[Any]:
            ask = self._wire(Ask(limit, wanted))
            return [lease_id, int(ttl_s * _US), ask, *numbers]

        answer = await self._ask(limit.root, "lease", arguments)
        return _units(limit, answer[2], wanted, least), _state(limit, answer[3], answer[1])

    async def end_lease(self, lease_id: str, limit: Limit) -> None:
        """Give back what a lease still holds."""
        await self._ask(limit.root, "release", lambda: [lease_id, 0])

    def charge(self, request_id: str, asks: Sequence[Ask]) -> None:
        """Charge, without asking, what was used of limits; when the server is gone, once it is back.

        For requests that were admitted without the server. Each id is charged once, whatever became of
        a reservation under the same id.
        """
        if asks:
            root = asks[0].limit.root
            self._put_off(request_id, "charge", root, [request_id, [self._wire(ask) for ask in asks]])

    def keep_doubtful(self, request_id: str) -> None:
        """Do not take back an admission that failed: it is admitted otherwise, and will be `charge`d."""
        self._later.pop(request_id, None)

    def believed_us(self) -> int:
        """The server's time as far as it is known here."""
        if self._ahead_us is None:
            return self._wall_ns() // 1000
        return time.monotonic_ns() // 1000 + self._ahead_us

    async def close(self, patience_s: float = 1.0) -> None:
        """Deliver what was put off, as far as it can be in that time. The server is the caller's to close."""
        delivery = self._delivery
        if delivery is not None and not delivery.done():
            await asyncio.wait([delivery], timeout=patience_s)
            delivery.cancel()
            await asyncio.gather(delivery, return_exceptions=True)

    # --- calls ------------------------------------------------------------------------------

    def _run(self, root: str, operation: str, arguments: list[Any]) -> asyncio.Future[Any]:
        tag = f"{self._prefix}{{limits/{root}}}"
        return self._server.run(
            self._script, (f"{tag}:state", f"{tag}:open", f"{tag}:due"), (operation, self._encode(arguments))
        )

    def _read(self, reply: Any) -> list[Any]:
        answer: list[Any] = msgspec.msgpack.decode(reply)
        self._ahead_us = answer[1] - time.monotonic_ns() // 1000
        return answer

    async def _ask(self, root: str, operation: str, arguments: Callable[[], list[Any]]) -> list[Any]:
        """One call, and another when the server's time is not what it was believed to be."""
        for _ in range(2):
            answer = self._read(await self._run(root, operation, arguments()))
            if answer[0] != "window":
                return answer
        raise StorageError("the calendar windows sent to the limits store hold neither of its times")

    async def _look(self, root: str, limits: Sequence[Limit]) -> list[Any]:
        return await self._ask(root, "look", lambda: [[self._wire(Ask(limit, 0)) for limit in limits]])

    async def _admit(self, root: str, request_id: str, arguments: Callable[[], list[Any]]) -> list[Any]:
        if not self._server.up:
            # Nothing is sent, so there is no doubt: the error comes at once.
            return self._read(await self._run(root, "admit", arguments()))
        try:
            return await self._ask(root, "admit", arguments)
        except (StorageError, asyncio.CancelledError):
            self._put_off(request_id, "release", root, [request_id, 1])
            raise

    async def _now_or_later(
        self, request_id: str, operation: str, root: str, arguments: list[Any]
    ) -> list[Any] | None:
        try:
            return self._read(await self._run(root, operation, arguments))
        except StorageError:
            self._put_off(request_id, operation, root, arguments)
            return None
        except asyncio.CancelledError:
            self._put_off(request_id, operation, root, arguments)
            raise

    def _put_off(self, request_id: str, operation: str, root: str, arguments: list[Any]) -> None:
        if len(self._later) >= _MOST_LATER and request_id not in self._later:
            del self._later[next(iter(self._later))]
            self.dropped += 1
        self._later[request_id] = (operation, root, arguments)
        if self._delivery is None or self._delivery.done():
            self._delivery = asyncio.get_running_loop().create_task(self._deliver(), name="limits-delivery")

    async def _deliver(self) -> None:
        """Make the calls that were put off, many to a round trip, until none is left."""
        while self._later:
            await self._server.wait_until_up()
            some = list(self._later.items())[:_LATER_AT_ONCE]
            calls = [self._run(root, operation, arguments) for _, (operation, root, arguments) in some]
            replies = await asyncio.gather(*calls, return_exceptions=True)
            delivered = 0
            for (request_id, call), reply in zip(some, replies, strict=True):
                if not isinstance(reply, BaseException):
                    delivered += 1
                    # Another call for the same id may have taken its place meanwhile.
                    if self._later.get(request_id) is call:
                        del self._later[request_id]
            self.delivered_later += delivered
            if not delivered:
                # The server answers, but does not do it: out of memory, say.
                await asyncio.sleep(_PAUSE_S)

    def _remember(self, request_id: str, held: _Held) -> None:
        self._held[request_id] = held
        now = time.monotonic()
        if now >= self._sweep_at:
            # In order of admission, which is nearly that of their ends.
            self._sweep_at = now + _SWEEP_S
            old = list(itertools.takewhile(lambda name: self._held[name].until < now, self._held))
            for name in old:
                del self._held[name]

    # --- what goes over the wire --------------------------------------------------------------

    def _wire(self, ask: Ask) -> list[Any]:
        """An ask as the script has it: id, kind, cost, the most at once, shadow; for budgets the windows."""
        limit = ask.limit
        head = [limit.id, _KINDS[limit.what], _amount(limit, ask.cost)]
        if limit.what is What.USD:
            return [*head, limit.amount, int(limit.shadow), *self._bounds(limit)]
        if limit.what is What.CONCURRENT:
            return [*head, limit.amount, int(limit.shadow)]
        return [*head, _amount(limit, limit.burst) if ask.cost <= limit.burst else -1, int(limit.shadow)]

    def _bounds(self, limit: Limit) -> tuple[int, int, int]:
        """Where the window believed to be current begins, where the next one does, and where that ends."""
        kind = (limit.window or Window.MONTH, limit.timezone)
        now = self.believed_us()
        bounds = self._windows.get(kind)
        if bounds is None or not bounds[0] <= now < bounds[1]:
            first, last = self._calendar(*kind, now)
            bounds = self._windows[kind] = (first, last, self._calendar(*kind, last)[1])
        return bounds


def _amount(limit: Limit, cost: int) -> int:
    """A cost as the script counts it: rates in microseconds of refill."""
    if limit.what is What.USD or limit.what is What.CONCURRENT:
        return min(_MOST_MICROUSD, cost)
    return min(_MOST_US, bucket.cost_us(cost, limit.amount, limit.period_s))


def _units(limit: Limit, held: int, wanted: int, least: int) -> int:
    """What the script counted as `_amount` does, counted as the limit does; exact for what was asked for."""
    if limit.what is What.USD or limit.what is What.CONCURRENT:
        return held
    for number in (max(wanted, least), least):
        if held >= _amount(limit, number):
            return number
    return held * limit.amount // (limit.period_s * _US)


def _state(limit: Limit, value: Sequence[int], now: int) -> State:
    cell = cell_for(limit)
    numbers = (*value, 0, 0, 0)
    cell.restore((numbers[0], numbers[1], numbers[2], numbers[3]), 0, now)
    return cell.state(now)


def _refused(ask: Ask, value: Sequence[int], wait_us: int, now: int) -> Refused:
    return Refused(_state(ask.limit, value, now), ask.cost, None if wait_us == NEVER else wait_us / _US)
