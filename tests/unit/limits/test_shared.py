"""The limiter over a store that is elsewhere, there and gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest
from tests.unit.limits.made import Clock

from fairlead.config.parse import parse
from fairlead.errors import LimitsUnavailable, RateLimited, StorageError
from fairlead.limits.limiter import Limiter, Permit, Wanted
from fairlead.limits.memory import MemoryStore
from fairlead.limits.quota import Admitted, Ask, Limit, Refused, State
from fairlead.limits.shared import SharedLimiter
from fairlead.limits.tree import Tree
from fairlead.types import Usage

TENANTS = """
tenants:
  open:
    limits:
      requests_per_minute: {limit: 40, on_store_failure: bounded}
      budgets: [{usd: 0.01, per: day, on_store_failure: bounded}]
      tokens_per_minute: {limit: 1000, shadow: true}
  closed:
    limits: {requests_per_minute: {limit: 40, on_store_failure: bounded}, concurrent_requests: 2}
  free: {}
"""
USAGE = Usage(input_tokens=10, output_tokens=5)


class Elsewhere:
    """A shared store that can be gone."""

    def __init__(self, clock: Clock) -> None:
        self.inner = MemoryStore(clock)
        self.gone = False
        self.charged: list[tuple[str, dict[str, int]]] = []
        self.kept_doubtful: list[str] = []

    def _reach(self) -> MemoryStore:
        if self.gone:
            raise StorageError("gone")
        return self.inner

    async def admit(self, request_id: str, asks: Sequence[Ask], ttl_s: float) -> Admitted | Refused:
        return self._reach().admit(request_id, asks, ttl_s)

    async def settle(self, request_id: str, costs: Mapping[str, int]) -> tuple[State, ...]:
        return self._reach().settle(request_id, costs)

    async def release(self, request_id: str) -> None:
        self._reach().release(request_id)

    async def look(self, limits: Sequence[Limit]) -> tuple[State, ...]:
        return self._reach().look(limits)

    def charge(self, request_id: str, asks: Sequence[Ask]) -> None:
        self.charged.append((request_id, {ask.limit.id: ask.cost for ask in asks}))

    def keep_doubtful(self, request_id: str) -> None:
        self.kept_doubtful.append(request_id)


class Replica:
    """One process's limiter."""

    def __init__(self) -> None:
        clock = Clock()
        self.elsewhere = Elsewhere(clock)
        tree = Tree(parse(TENANTS, "test").tenants)
        self.limiter = Limiter(MemoryStore(clock), tree, now=clock.seconds, warn=lambda _: None)
        self.shared = SharedLimiter(self.limiter, self.elsewhere, bounded_share=0.1)
        self.number = 0

    async def admit(self, tenant: str, cost: int | None = 100) -> Permit:
        self.number += 1
        wanted = Wanted(
            request_id=f"r{self.number}",
            tenant=tenant,
            key_id="k",
            key_name="key",
            model="m",
            input_tokens=10,
            output_tokens=20,
            cost_microusd=cost,
            ttl_s=60.0,
        )
        return await self.shared.admit(wanted, self.limiter.path(tenant, "k", "key", "m"))

    async def used(self, tenant: str) -> list[tuple[int, int]]:
        return [(state.used, state.reserved) for state in await self.shared.show(tenant)]


def run(scenario: Callable[[Replica], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario(Replica())

    asyncio.run(main())


def test_a_request_is_reserved_and_settled_in_the_shared_store() -> None:
    async def scenario(replica: Replica) -> None:
        permit = await replica.admit("open")
        assert await replica.used("open") == [(1, 0), (30, 0), (0, 100)]

        replica.shared.settle(permit, USAGE, 70, whole=True)
        await replica.shared.close()

        assert await replica.used("open") == [(1, 0), (15, 0), (70, 0)]
        assert len(replica.limiter.learned) == 1

    run(scenario)


def test_a_released_request_is_given_back() -> None:
    async def scenario(replica: Replica) -> None:
        replica.shared.release(await replica.admit("open"))
        await replica.shared.close()

        assert await replica.used("open") == [(0, 0), (0, 0), (0, 0)]

    run(scenario)


def test_one_closed_limit_refuses_when_the_store_is_gone() -> None:
    async def scenario(replica: Replica) -> None:
        replica.elsewhere.gone = True

        with pytest.raises(LimitsUnavailable):
            await replica.admit("closed")

        assert replica.limiter.counts == {("closed", "concurrent", "unavailable"): 1}
        assert replica.elsewhere.kept_doubtful == []

    run(scenario)


def test_bounded_limits_admit_their_share_and_charge_it_later() -> None:
    async def scenario(replica: Replica) -> None:
        replica.elsewhere.gone = True
        permits = [await replica.admit("open") for _ in range(4)]

        with pytest.raises(RateLimited, match="4 requests per minute"):
            await replica.admit("open")

        replica.shared.settle(permits[0], USAGE, 70, whole=True)
        replica.shared.settle(permits[1], USAGE, None, whole=False)
        replica.shared.release(permits[2])
        await replica.shared.close()
        assert replica.elsewhere.kept_doubtful == ["r1", "r2", "r3", "r4"]
        assert replica.elsewhere.charged == [
            ("r1", {"open/requests": 1, "open/tokens": 15, "open/usd:day": 70}),
            ("r2", {"open/requests": 1, "open/tokens": 15, "open/usd:day": 100}),
        ]
        assert replica.limiter.counts["open", "requests", "bounded"] == 4

    run(scenario)


def test_what_is_too_large_for_one_process_waits_for_the_store() -> None:
    async def scenario(replica: Replica) -> None:
        replica.elsewhere.gone = True

        with pytest.raises(LimitsUnavailable):
            await replica.admit("open", cost=1001)

    run(scenario)


def test_a_store_that_is_lost_before_the_settlement_fails_nobody() -> None:
    async def scenario(replica: Replica) -> None:
        permit = await replica.admit("open")
        replica.elsewhere.gone = True

        replica.shared.settle(permit, USAGE, 70, whole=True)
        await replica.shared.close()

        replica.elsewhere.gone = False
        assert (await replica.used("open"))[2] == (0, 100)

    run(scenario)


def test_without_limits_the_store_is_not_asked() -> None:
    async def scenario(replica: Replica) -> None:
        replica.elsewhere.gone = True
        permit = await replica.admit("free")
        replica.shared.settle(permit, USAGE, 70, whole=True)

        assert permit.admitted is None
        assert replica.elsewhere.charged == []

    run(scenario)
