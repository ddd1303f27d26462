"""What only a store on a server can do wrong: be gone, be slow, have another clock, lose its scripts."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Iterator

import pytest
from tests.e2e.redis_server import RedisProcess, start_redis

from fairlead.errors import StorageError, StorageUnusable
from fairlead.limits.quota import Admitted, Ask, Limit, Refused, What, Window
from fairlead.limits.redis import RedisStore
from fairlead.net.run import Run
from fairlead.storage.connect import redis_server

TIMEOUT_S = 0.3


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisProcess]:
    with start_redis() as process:
        yield process


@pytest.fixture
def redis(shared: RedisProcess) -> RedisProcess:
    shared.command("FLUSHALL")
    return shared


def budget(amount: int = 1000, **options: object) -> Limit:
    return Limit(
        id="acme/usd:month",
        node="acme",
        root="acme",
        what=What.USD,
        amount=amount,
        window=Window.MONTH,
        **options,
    )  # type: ignore[arg-type]  # the callers' options


def rate(amount: int) -> Limit:
    return Limit(
        id="acme/requests", node="acme", root="acme", what=What.REQUESTS, amount=amount, burst=amount
    )


def calls(redis: RedisProcess) -> int:
    """EVALSHA and EVAL commands so far."""
    found = re.findall(rb"cmdstat_(?:evalsha|eval):calls=(\d+)", redis.command("INFO", "commandstats"))
    return sum(int(count) for count in found)


def test_an_admission_over_six_limits_is_one_round_trip_and_so_is_its_settlement(
    redis: RedisProcess,
) -> None:
    limits = [
        Limit(id=f"{node}/{what}", node=node, root="acme", what=what, amount=100, burst=100)
        for node in ("acme", "team", "key:1")
        for what in (What.REQUESTS, What.TOKENS)
    ]

    async def scenario() -> list[int]:
        server = redis_server(redis.url)
        store = RedisStore(server)
        await store.look(limits)  # teaches the script
        counts = [calls(redis)]
        await store.admit("a", [Ask(limit, 1) for limit in limits], 30)
        counts.append(calls(redis))
        await store.settle("a", {})
        counts.append(calls(redis))
        await store.settle("a", {})
        counts.append(calls(redis))
        await server.close()
        return [after - before for before, after in itertools.pairwise(counts)]

    assert asyncio.run(scenario()) == [1, 1, 0]


def test_a_run_without_a_task_can_ask(redis: RedisProcess) -> None:
    async def scenario() -> list[object]:
        server = redis_server(redis.url)
        store = RedisStore(server)
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        seen: list[object] = []

        async def request() -> None:
            seen.append(type(await store.admit("a", [Ask(budget(), 10)], 30)))
            seen.append([state.used for state in await store.settle("a", {budget().id: 5})])

        def done(_: Run, error: BaseException | None) -> None:
            seen.append(error)
            ended.set_result(None)

        Run(request(), done).start()
        await asyncio.wait_for(ended, 5)
        await server.close()
        return seen

    assert asyncio.run(scenario()) == [Admitted, [5], None]


def test_a_cancelled_admission_is_taken_back(redis: RedisProcess) -> None:
    async def scenario() -> int:
        server = redis_server(redis.url)
        store = RedisStore(server)
        await store.look([budget()])
        redis.pause()
        asking = asyncio.ensure_future(store.admit("a", [Ask(budget(), 10)], 3000))
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        redis.resume()
        await store.close(patience_s=5)
        (state,) = await store.look([budget()])
        await server.close()
        return state.reserved

    assert asyncio.run(scenario()) == 0


def test_forgotten_scripts_are_taught_again(redis: RedisProcess) -> None:
    async def scenario() -> object:
        server = redis_server(redis.url)
        store = RedisStore(server)
        await store.admit("a", [Ask(budget(), 1)], 30)
        redis.command("SCRIPT", "FLUSH")
        answers = await asyncio.gather(*(store.admit(str(n), [Ask(budget(), 1)], 30) for n in range(20)))
        (state,) = await store.look([budget()])
        await server.close()
        return [type(answer) for answer in answers], state.reserved

    assert asyncio.run(scenario()) == ([Admitted] * 20, 21)


@pytest.mark.parametrize("off_s", [-400 * 86400, 400 * 86400])
def test_a_gateway_with_a_wrong_clock_changes_nothing_of_a_budget(redis: RedisProcess, off_s: int) -> None:
    async def scenario() -> list[object]:
        server = redis_server(redis.url)
        right = RedisStore(server)
        await right.admit("a", [Ask(budget(), 600)], 30)
        await right.settle("a", {budget().id: 600})
        wrong = RedisStore(server, wall_ns=lambda: time.time_ns() + off_s * 10**9)
        answer = await wrong.admit("b", [Ask(budget(), 500)], 30)
        fits = await wrong.admit("c", [Ask(budget(), 400)], 30)
        (state,) = await right.look([budget()])
        await server.close()
        return [type(answer), type(fits), state.used, state.reserved]

    assert asyncio.run(scenario()) == [Refused, Admitted, 600, 400]


def test_a_window_never_gives_way_to_an_earlier_one(redis: RedisProcess) -> None:
    """Whether a server's clock was set back or a gateway has other rules for the time zone."""

    async def scenario() -> list[int]:
        server = redis_server(redis.url)
        later = RedisStore(
            server, calendar=lambda _, __, now: (now // 10**9 * 10**9, now // 10**9 * 10**9 + 10**9)
        )
        earlier = RedisStore(
            server, calendar=lambda _, __, now: (now // 10**12 * 10**12, (now // 10**12 + 1) * 10**12)
        )
        await later.admit("a", [Ask(budget(), 600)], 30)
        await later.settle("a", {budget().id: 600})
        answer = await earlier.admit("b", [Ask(budget(), 500)], 30)
        (state,) = await later.look([budget()])
        await server.close()
        assert isinstance(answer, Refused)
        return [answer.state.used, state.used]

    assert asyncio.run(scenario()) == [600, 600]


def test_no_update_is_lost_when_windows_roll_over(redis: RedisProcess) -> None:
    """Many admissions from two processes' stores, over several ends of windows of 0.3 s."""
    length_us = 300_000

    def calendar(_: Window, __: str, now_us: int) -> tuple[int, int]:
        first = now_us // length_us * length_us
        return first, first + length_us

    limit = budget(1000)

    async def scenario() -> tuple[dict[float | None, int], dict[float | None, int], int]:
        server = redis_server(redis.url, timeout_s=5)
        stores = [RedisStore(server, calendar=calendar) for _ in range(2)]
        settled: dict[float | None, int] = {}
        shown: dict[float | None, int] = {}
        refusals = 0

        async def spend(number: int) -> None:
            nonlocal refusals
            store = stores[number % 2]
            for turn in range(60):
                answer = await store.admit(f"{number}-{turn}", [Ask(limit, 20)], 30)
                if isinstance(answer, Refused):
                    refusals += 1
                    await asyncio.sleep(0.01)
                    continue
                window = answer.states[0].resets_at
                await asyncio.sleep(0.002 * (number % 5))
                (state,) = await store.settle(f"{number}-{turn}", {limit.id: 19})
                if state.resets_at == window:
                    settled[window] = settled.get(window, 0) + 19
                    shown[window] = max(shown.get(window, 0), state.used)
                await asyncio.sleep(0.01)

        await asyncio.gather(*(spend(number) for number in range(20)))
        await server.close()
        return settled, shown, refusals

    settled, shown, refusals = asyncio.run(scenario())
    assert len(settled) >= 3
    assert refusals > 0
    assert shown == settled
    assert all(used <= 1000 for used in shown.values())


def test_seeding_sets_what_is_not_there_and_nothing_else(redis: RedisProcess) -> None:
    async def scenario() -> list[object]:
        server = redis_server(redis.url)
        store = RedisStore(server)
        first = await asyncio.gather(*(store.seed(budget(), 300) for _ in range(5)))
        again = await store.seed(budget(), 900)
        (state,) = await store.look([budget()])
        await server.close()
        return [sorted(first), again, state.used]

    assert asyncio.run(scenario()) == [[False, False, False, False, True], False, 300]


def test_what_is_charged_without_asking_is_charged_once(redis: RedisProcess) -> None:
    async def scenario() -> list[tuple[int, int]]:
        server = redis_server(redis.url)
        store, other = RedisStore(server), RedisStore(server)
        seen = []
        await store.admit("reserved", [Ask(budget(), 100)], 30)
        for request_id in ("reserved", "unknown", "reserved", "unknown"):
            other.charge(request_id, [Ask(budget(), 70), Ask(rate(10), 1)])
            await other.close()
            seen.append([(state.used, state.reserved) for state in await store.look([budget(), rate(10)])])
        await store.admit("unknown", [Ask(budget(), 50)], 30)  # an admission that was long on its way
        seen.append([(state.used, state.reserved) for state in await store.look([budget(), rate(10)])])
        await server.close()
        return seen

    once, both = [(70, 0), (1, 0)], [(140, 0), (2, 0)]
    assert asyncio.run(scenario()) == [once, both, both, both, both]


def test_thousands_of_limits_can_be_looked_at(redis: RedisProcess) -> None:
    limits = [
        Limit(id=f"key:{n}/requests", node=f"key:{n}", root="acme", what=What.REQUESTS, amount=60, burst=9)
        for n in range(20_000)
    ]

    async def scenario() -> list[int]:
        server = redis_server(redis.url, timeout_s=5)
        store = RedisStore(server)
        await store.admit("a", [Ask(limits[12_345], 3)], 30)
        states = await store.look(limits)
        await server.close()
        return [number for number, state in enumerate(states) if state.used]

    assert asyncio.run(scenario()) == [12_345]


def test_limits_that_are_full_again_leave_nothing_behind(redis: RedisProcess) -> None:
    async def scenario() -> None:
        server = redis_server(redis.url)
        store = RedisStore(server)
        gone = [
            Limit(
                id=f"key:{n}/requests",
                node=f"key:{n}",
                root="acme",
                what=What.REQUESTS,
                amount=10**6,
                burst=9,
            )
            for n in range(50)
        ]
        for limit in gone:
            await store.admit(limit.id, [Ask(limit, 1)], 30)
            await store.settle(limit.id, {})
        await asyncio.sleep(0.01)
        for number in range(1500):
            await store.admit(str(number), [Ask(budget(10**6), 1)], 30)
            await store.settle(str(number), {})
        await server.close()

    asyncio.run(scenario())
    assert redis.command("HLEN", "fairlead:{limits/acme}:state") == b":1\r\n"
    assert redis.command("EXISTS", "fairlead:{limits/acme}:open", "fairlead:{limits/acme}:due") == b":0\r\n"


def test_while_the_server_is_stopped_calls_fail_fast_and_it_is_found_again() -> None:
    async def scenario(redis: RedisProcess) -> None:
        server = redis_server(redis.url, timeout_s=TIMEOUT_S)
        store = RedisStore(server)
        await store.admit("before", [Ask(budget(), 100)], 3000)
        redis.pause()

        began = time.monotonic()
        waiting = await asyncio.gather(
            *(store.admit(f"w{n}", [Ask(budget(), 1)], 3000) for n in range(50)), return_exceptions=True
        )
        assert all(isinstance(answer, StorageError) for answer in waiting)
        assert time.monotonic() - began < TIMEOUT_S * 2 + 0.5
        assert not server.up

        began = time.monotonic()
        for number in range(100):
            with pytest.raises(StorageError):
                await store.admit(f"x{number}", [Ask(budget(), 1)], 3000)
        assert time.monotonic() - began < 0.2, "calls wait for a server that is known to be gone"
        assert await store.settle("before", {budget().id: 60}) == ()

        redis.resume()
        await asyncio.wait_for(server.wait_until_up(), 5)
        assert isinstance(await store.admit("after", [Ask(budget(), 1)], 3000), Admitted)
        await store.close(patience_s=5)
        (state,) = await store.look([budget()])
        # What may have been admitted when the answer was lost is taken back, and the settlement was made.
        assert (state.used, state.reserved) == (60, 1)
        assert server.outages == 1
        assert store.delivered_later >= 51
        await server.close()

    with start_redis() as redis:
        asyncio.run(scenario(redis))


def test_a_settlement_whose_answer_was_lost_is_repeated_and_counts_once() -> None:
    async def scenario(redis: RedisProcess) -> tuple[int, int, int]:
        server = redis_server(redis.url, timeout_s=TIMEOUT_S)
        store = RedisStore(server)
        await store.admit("a", [Ask(budget(), 100), Ask(rate(10), 1)], 3000)
        redis.pause()
        assert await store.settle("a", {budget().id: 60}) == ()
        redis.resume()
        await store.close(patience_s=5)
        (state,) = await store.look([budget()])
        made = calls(redis)
        await server.close()
        return made, state.used, state.reserved

    with start_redis() as redis:
        # The admission, which also teaches the script, the settlement twice, and the look.
        assert asyncio.run(scenario(redis)) == (5, 60, 0)


def test_a_server_that_is_not_there_yet_is_used_when_it_comes() -> None:
    async def scenario(redis: RedisProcess) -> None:
        redis.kill()
        server = redis_server(redis.url, timeout_s=TIMEOUT_S)
        store = RedisStore(server)
        with pytest.raises(StorageError):
            await server.check()
        with pytest.raises(StorageError):
            await store.admit("a", [Ask(budget(), 1)], 30)
        redis.start()
        await asyncio.wait_for(server.wait_until_up(), 5)
        assert isinstance(await store.admit("b", [Ask(budget(), 1)], 30), Admitted)
        await store.close()
        await server.close()
        with pytest.raises(StorageError, match="closed"):
            await store.admit("c", [Ask(budget(), 1)], 30)

    with start_redis() as redis:
        asyncio.run(scenario(redis))


def test_a_wrong_password_is_told_without_it() -> None:
    async def scenario(redis: RedisProcess) -> str:
        server = redis_server(redis.url.replace("://", "://:wrong-secret@"), timeout_s=2)
        with pytest.raises(StorageUnusable) as caught:
            await server.check()
        await server.close()
        return f"{caught.value.message} {caught.value.hint} {server.name}"

    with start_redis("--requirepass", "right") as redis:
        told = asyncio.run(scenario(redis))
    assert "limits.redis.url" in told
    assert "wrong-secret" not in told
