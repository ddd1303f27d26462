"""Slices of a shared limit that processes admit out of, on a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from tests.e2e.redis_server import RedisProcess, start_redis

from fairlead.limits.lease import LeasedStore
from fairlead.limits.quota import Admitted, Ask, Limit, Refused, State, What, Window
from fairlead.limits.redis import RedisStore
from fairlead.storage.redis import RedisServer

SHARE = 0.1


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisProcess]:
    with start_redis() as process:
        yield process


@pytest.fixture
def redis(shared: RedisProcess) -> RedisProcess:
    shared.command("FLUSHALL")
    return shared


def budget(amount: int) -> Limit:
    return Limit(
        id="acme/usd:month", node="acme", root="acme", what=What.USD, amount=amount, window=Window.MONTH
    )


def tokens(amount: int) -> Limit:
    return Limit(
        id="acme/tokens",
        node="acme",
        root="acme",
        what=What.TOKENS,
        amount=amount,
        burst=amount,
        period_s=10**7,
    )


def places(amount: int) -> Limit:
    return Limit(id="acme/concurrent", node="acme", root="acme", what=What.CONCURRENT, amount=amount)


class Process:
    """What one gateway has: its connection and stores. `dies` leaves everything as it is."""

    def __init__(self, url: str, name: str, lifetime_s: float) -> None:
        self.server = RedisServer(url, timeout_s=5)
        self.store = RedisStore(self.server)
        self.leased = LeasedStore(self.store, process=name, share=SHARE, lifetime_s=lifetime_s)

    async def dies(self) -> None:
        if self.leased._renewing is not None:
            self.leased._renewing.cancel()
        await self.server.close()

    async def ends(self) -> None:
        await self.leased.close()
        await self.store.close()
        await self.server.close()


@asynccontextmanager
async def processes(redis: RedisProcess, count: int, lifetime_s: float = 0.6) -> AsyncIterator[list[Process]]:
    made = [Process(redis.url, f"p{number}", lifetime_s) for number in range(count)]
    yield made
    for process in made:
        await process.ends()


async def shown(process: Process, *limits: Limit) -> list[tuple[int, int]]:
    states: tuple[State, ...] = await process.leased.look(limits)
    return [(state.used, state.reserved) for state in states]


def test_most_admissions_make_no_round_trip_and_everything_is_accounted(redis: RedisProcess) -> None:
    limits = (budget(100_000), tokens(100_000), places(100))

    async def scenario() -> tuple[int, list[tuple[int, int]]]:
        async with processes(redis, 1) as (process,):
            for number in range(300):
                wants = [Ask(limits[0], 100), Ask(limits[1], 50), Ask(limits[2], 1)]
                assert isinstance(await process.leased.admit(str(number), wants, 30), Admitted)
                states = await process.leased.settle(str(number), {limits[0].id: 60, limits[1].id: 20})
                assert len(states) in (0, 3)
                if number % 10 == 9:
                    await process.leased.admit("never", wants, 30)
                    await process.leased.release("never")
                await asyncio.sleep(0.001)
            local = process.leased.local
        async with processes(redis, 1) as (other,):
            return local, await shown(other, *limits)

    local, accounted = asyncio.run(scenario())
    assert local > 250
    assert accounted == [(300 * 60, 0), (300 * 20, 0), (0, 0)]


def test_the_states_told_are_the_servers_with_what_was_done_since(redis: RedisProcess) -> None:
    limit = budget(10_000)

    async def scenario() -> None:
        async with processes(redis, 1, lifetime_s=30) as (process,):
            await process.leased.admit("first", [Ask(limit, 100)], 30)
            await process.leased.settle("first", {limit.id: 100})
            await asyncio.sleep(0.1)
            answer = await process.leased.admit("second", [Ask(limit, 70)], 30)
            assert process.leased.local == 1
            assert isinstance(answer, Admitted)
            (state,) = answer.states
            assert (state.used, state.reserved, state.remaining) == (100, 70, 9_830)
            (state,) = await process.leased.settle("second", {limit.id: 50})
            assert (state.used, state.reserved, state.remaining) == (150, 0, 9_850)

    asyncio.run(scenario())


def test_many_processes_use_a_budget_to_the_end_and_not_beyond(redis: RedisProcess) -> None:
    limit = budget(20_000)

    async def scenario() -> tuple[int, int, list[tuple[int, int]]]:
        spent = 0
        async with processes(redis, 4, lifetime_s=0.3) as members:

            async def spend(number: int) -> None:
                nonlocal spent
                leased = members[number % 4].leased
                refusals = 0
                for turn in range(1000):
                    answer = await leased.admit(f"{number}-{turn}", [Ask(limit, 20)], 30)
                    if isinstance(answer, Refused):
                        refusals += 1
                        if refusals > 10:
                            return
                        await asyncio.sleep(0.1)
                        continue
                    spent += 17
                    await asyncio.sleep(0.001)
                    await leased.settle(f"{number}-{turn}", {limit.id: 17})

            await asyncio.gather(*(spend(number) for number in range(24)))
            local = sum(member.leased.local for member in members)
        async with processes(redis, 1) as (other,):
            return spent, local, await shown(other, limit)

    spent, local, accounted = asyncio.run(scenario())
    assert accounted == [(spent, 0)]
    assert 20_000 - 20 < spent <= 20_000
    assert local > 500


def test_what_a_dead_process_held_comes_back_and_the_loss_is_within_a_slice(redis: RedisProcess) -> None:
    limit = budget(10_000)

    async def scenario() -> None:
        process = Process(redis.url, "dies", 0.3)
        for number in range(60):
            await process.leased.admit(str(number), [Ask(limit, 100)], 30)
            await process.leased.settle(str(number), {limit.id: 100})
            await asyncio.sleep(0.002)
        assert process.leased.local > 0
        await process.dies()
        async with processes(redis, 1) as (other,):
            await asyncio.sleep(0.7)
            ((used, reserved),) = await shown(other, limit)
        assert reserved == 0
        assert 6_000 - limit.amount * SHARE <= used <= 6_000

    asyncio.run(scenario())


def test_an_unused_slice_is_given_back(redis: RedisProcess) -> None:
    limits = (budget(10_000), tokens(10_000), places(50))

    async def scenario() -> None:
        async with processes(redis, 2, lifetime_s=0.2) as (process, other):
            await process.leased.admit("a", [Ask(limit, 1) for limit in limits], 30)
            await asyncio.sleep(0.1)
            held = await shown(other, *limits)
            await process.leased.settle("a", {limits[0].id: 1, limits[1].id: 1})
            await asyncio.sleep(0.6)
            assert held == [(0, 1001), (1001, 0), (6, 0)]
            assert await shown(other, *limits) == [(1, 0), (1, 0), (0, 0)]
            assert redis.command("HLEN", "fairlead:{limits/acme}:open") == b":0\r\n"

    asyncio.run(scenario())


def test_a_request_that_outlives_many_renewals_keeps_its_reservation(redis: RedisProcess) -> None:
    limit = budget(10_000)

    async def scenario() -> None:
        async with processes(redis, 2, lifetime_s=0.15) as (process, other):
            await process.leased.admit("opens", [Ask(limit, 1)], 30)
            await asyncio.sleep(0.05)
            await process.leased.admit("long", [Ask(limit, 700)], 30)
            assert process.leased.local == 1
            await process.leased.settle("opens", {limit.id: 0})
            await asyncio.sleep(0.8)
            assert await shown(other, limit) == [(0, 700)]
            await process.leased.settle("long", {limit.id: 650})
            await asyncio.sleep(0.5)
            assert await shown(other, limit) == [(650, 0)]

    asyncio.run(scenario())


def test_slices_carry_on_for_a_lifetime_without_the_server_and_lose_nothing(redis: RedisProcess) -> None:
    limit = budget(100_000)

    async def scenario() -> None:
        process = Process(redis.url, "cut", 1.0)
        process.server = RedisServer(redis.url, timeout_s=0.2)
        process.store = RedisStore(process.server)
        process.leased = LeasedStore(process.store, process="cut", share=SHARE, lifetime_s=1.0)
        spent = 0
        await process.leased.admit("first", [Ask(limit, 10)], 30)
        await process.leased.settle("first", {limit.id: 10})
        await asyncio.sleep(0.1)
        redis.pause()
        for number in range(50):
            assert isinstance(await process.leased.admit(str(number), [Ask(limit, 10)], 30), Admitted)
            await process.leased.settle(str(number), {limit.id: 10})
            spent += 10
        await asyncio.sleep(0.5)
        redis.resume()
        await asyncio.wait_for(process.server.wait_until_up(), 5)
        await process.ends()
        async with processes(redis, 1) as (other,):
            assert await shown(other, limit) == [(10 + spent, 0)]

    asyncio.run(scenario())
