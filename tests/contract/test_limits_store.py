"""What every store of limits does, in this process or on a real Redis, alone or as a cluster.

Clocks are the stores' own, so waits are real and short; what depends on an
exact moment is asked of each store's own tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.e2e.redis_server import RedisProcess, start_redis

from fairlead.limits.calendar import window_at
from fairlead.limits.clock import ForwardClock
from fairlead.limits.memory import MemoryStore
from fairlead.limits.quota import Admitted, Ask, Limit, Refused, RemoteStore, State, What, Window
from fairlead.limits.redis import RedisStore
from fairlead.storage.redis import RedisServer

NEVER_REFILLS_S = 10_000_000


class Awaited:
    """A store of this process, called as a remote one is."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def admit(self, request_id: str, asks: Sequence[Ask], ttl_s: float) -> Admitted | Refused:
        return self._store.admit(request_id, asks, ttl_s)

    async def settle(self, request_id: str, costs: Mapping[str, int]) -> tuple[State, ...]:
        return self._store.settle(request_id, costs)

    async def release(self, request_id: str) -> None:
        self._store.release(request_id)

    async def look(self, limits: Sequence[Limit]) -> tuple[State, ...]:
        return self._store.look(limits)


@contextlib.asynccontextmanager
async def _memory(_: RedisProcess) -> AsyncIterator[RemoteStore]:
    yield Awaited(MemoryStore(ForwardClock()))


@contextlib.asynccontextmanager
async def _redis(process: RedisProcess, *, cluster: bool = False) -> AsyncIterator[RemoteStore]:
    process.command("FLUSHALL")
    server = RedisServer(process.url, timeout_s=5.0, cluster=cluster)
    store = RedisStore(server)
    yield store
    await store.close()
    await server.close()


Backend = Callable[[RedisProcess], AbstractAsyncContextManager[RemoteStore]]

BACKENDS: dict[str, Backend] = {
    "memory": _memory,
    "redis": _redis,
    "cluster": lambda process: _redis(process, cluster=True),
}


@pytest.fixture(scope="module")
def alone() -> Iterator[RedisProcess]:
    with start_redis() as process:
        yield process


@pytest.fixture(scope="module")
def clustered() -> Iterator[RedisProcess]:
    """A cluster of one, which refuses scripts whose keys are not in one slot."""
    with start_redis("--cluster-enabled", "yes") as process:
        process.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        deadline = time.monotonic() + 10
        while b"cluster_state:ok" not in process.command("CLUSTER", "INFO"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process


@pytest.fixture(params=list(BACKENDS))
def store(
    request: pytest.FixtureRequest, runner: asyncio.Runner, alone: RedisProcess, clustered: RedisProcess
) -> Iterator[RemoteStore]:
    opened = BACKENDS[request.param](clustered if request.param == "cluster" else alone)
    yield runner.run(opened.__aenter__())
    runner.run(opened.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def requests(amount: int, **options: object) -> Limit:
    return _limit(What.REQUESTS, amount, **{"burst": amount, "period_s": NEVER_REFILLS_S, **options})


def tokens(amount: int, **options: object) -> Limit:
    return _limit(What.TOKENS, amount, **{"burst": amount, "period_s": NEVER_REFILLS_S, **options})


def budget(amount: int, **options: object) -> Limit:
    return _limit(What.USD, amount, **{"window": Window.MONTH, **options})


def places(amount: int, **options: object) -> Limit:
    return _limit(What.CONCURRENT, amount, **options)


def _limit(what: What, amount: int, **options: object) -> Limit:
    node = str(options.pop("node", "acme"))
    return Limit(id=f"{node}/{what}", node=node, root="acme", what=what, amount=amount, **options)  # type: ignore[arg-type]  # the callers' options


ALL = (requests(6), tokens(600), budget(1000), places(3))


def asks(*costs: int) -> list[Ask]:
    return [Ask(limit, cost) for limit, cost in zip(ALL, costs, strict=True)]


def used(runner: asyncio.Runner, store: RemoteStore, limits: Sequence[Limit] = ALL) -> list[tuple[int, int]]:
    return [(state.used, state.reserved) for state in runner.run(store.look(limits))]


def admitted(answer: Admitted | Refused) -> Admitted:
    assert isinstance(answer, Admitted), answer
    return answer


def refused(answer: Admitted | Refused) -> Refused:
    assert isinstance(answer, Refused), answer
    return answer


def test_what_nobody_took_of_is_full(store: RemoteStore, runner: asyncio.Runner) -> None:
    states = runner.run(store.look(ALL))

    assert [state.limit for state in states] == list(ALL)
    assert [(state.used, state.reserved, state.remaining) for state in states] == [
        (0, 0, 6),
        (0, 0, 600),
        (0, 0, 1000),
        (0, 0, 3),
    ]


def test_an_admission_takes_of_every_limit(store: RemoteStore, runner: asyncio.Runner) -> None:
    before = time.time()
    answer = admitted(runner.run(store.admit("a", asks(1, 100, 50, 1), 30)))

    assert answer.reservation == "a"
    assert answer.shadowed == ()
    assert 30 <= answer.expires_at - before < 35
    assert [(state.used, state.reserved, state.remaining) for state in answer.states] == [
        (1, 0, 5),
        (100, 0, 500),
        (0, 50, 950),
        (1, 0, 2),
    ]
    assert runner.run(store.look(ALL)) == answer.states


def test_nothing_is_taken_from_any_when_one_refuses(store: RemoteStore, runner: asyncio.Runner) -> None:
    refused(runner.run(store.admit("a", asks(1, 100, 1001, 1), 30)))

    assert used(runner, store) == [(0, 0)] * 4


def test_the_longest_wait_is_told_and_never_is_longest(store: RemoteStore, runner: asyncio.Runner) -> None:
    admitted(runner.run(store.admit("a", asks(1, 500, 900, 3), 30)))

    month = refused(runner.run(store.admit("b", asks(0, 100, 101, 1), 30)))
    never = refused(runner.run(store.admit("c", asks(0, 601, 101, 1), 30)))

    end = window_at(Window.MONTH, "UTC", int(time.time() * 1e6))[1] / 1e6
    assert month.state.limit is ALL[2]
    assert month.cost == 101
    assert month.state.resets_at == end
    assert month.retry_after_s == pytest.approx(end - time.time(), abs=5)
    assert never.state.limit is ALL[1]
    assert never.retry_after_s is None


def test_when_places_become_free_nobody_knows(store: RemoteStore, runner: asyncio.Runner) -> None:
    limit = places(2)
    for name in "ab":
        admitted(runner.run(store.admit(name, [Ask(limit, 1)], 30)))

    answer = refused(runner.run(store.admit("c", [Ask(limit, 1)], 30)))
    runner.run(store.settle("a", {}))

    assert answer.retry_after_s == 1.0
    assert answer.state.resets_at is None
    admitted(runner.run(store.admit("c", [Ask(limit, 1)], 30)))


def test_a_rate_refills_and_says_when(store: RemoteStore, runner: asyncio.Runner) -> None:
    limit = requests(20, period_s=1)
    for number in range(20):
        admitted(runner.run(store.admit(str(number), [Ask(limit, 1)], 30)))
    wait_s = 0.0
    for number in range(100):  # on a slow machine some have refilled by now
        answer = runner.run(store.admit(f"more-{number}", [Ask(limit, 1)], 30))
        if isinstance(answer, Refused):
            assert answer.retry_after_s is not None
            wait_s = answer.retry_after_s
            break

    assert 0 < wait_s <= 0.05
    time.sleep(wait_s)
    admitted(runner.run(store.admit("after", [Ask(limit, 1)], 30)))


def test_a_shadow_limit_tells_and_takes_nothing(store: RemoteStore, runner: asyncio.Runner) -> None:
    shadow = budget(10, shadow=True, node="team")

    answer = admitted(runner.run(store.admit("a", [Ask(shadow, 11), Ask(ALL[1], 5)], 30)))
    runner.run(store.settle("a", {shadow.id: 11, ALL[1].id: 5}))

    assert [(one.state.limit, one.cost, one.retry_after_s) for one in answer.shadowed] == [(shadow, 11, None)]
    assert used(runner, store, (shadow, ALL[1])) == [(0, 0), (5, 0)]


def test_an_open_reservation_is_not_made_twice(store: RemoteStore, runner: asyncio.Runner) -> None:
    first = admitted(runner.run(store.admit("a", asks(1, 100, 50, 1), 30)))
    again = admitted(runner.run(store.admit("a", asks(1, 100, 50, 1), 60)))

    assert again.expires_at == first.expires_at
    assert used(runner, store) == [(1, 0), (100, 0), (0, 50), (1, 0)]


def test_settling_replaces_what_was_reserved_once(store: RemoteStore, runner: asyncio.Runner) -> None:
    costs = {"acme/tokens": 30, "acme/usd": 70, "acme/unknown": 5}
    runner.run(store.admit("a", asks(1, 100, 50, 1), 30))

    states = runner.run(store.settle("a", costs))
    again = runner.run(store.settle("a", costs))
    runner.run(store.release("a"))

    assert [(state.limit, state.used, state.reserved) for state in states] == [
        (ALL[0], 1, 0),
        (ALL[1], 30, 0),
        (ALL[2], 70, 0),
        (ALL[3], 0, 0),
    ]
    assert again == ()
    assert used(runner, store) == [(1, 0), (30, 0), (70, 0), (0, 0)]


def test_what_is_not_named_keeps_what_was_reserved(store: RemoteStore, runner: asyncio.Runner) -> None:
    runner.run(store.admit("a", asks(1, 100, 50, 1), 30))
    runner.run(store.settle("a", {}))

    assert used(runner, store) == [(1, 0), (100, 0), (50, 0), (0, 0)]


def test_more_than_was_reserved_is_charged_all_the_same(store: RemoteStore, runner: asyncio.Runner) -> None:
    runner.run(store.admit("a", asks(1, 100, 50, 1), 30))
    states = runner.run(store.settle("a", {"acme/tokens": 700, "acme/usd": 1500}))

    assert [(state.used, state.remaining) for state in states[1:3]] == [(700, 0), (1500, 0)]
    refused(runner.run(store.admit("b", asks(1, 0, 0, 1), 30)))


def test_releasing_gives_everything_back(store: RemoteStore, runner: asyncio.Runner) -> None:
    runner.run(store.admit("a", asks(1, 100, 50, 1), 30))
    runner.run(store.release("a"))
    runner.run(store.release("a"))

    assert runner.run(store.settle("a", {"acme/usd": 50})) == ()
    assert used(runner, store) == [(0, 0)] * 4


def test_an_expired_reservation_keeps_the_request_and_a_late_settlement_charges_once(
    store: RemoteStore, runner: asyncio.Runner
) -> None:
    runner.run(store.admit("a", asks(1, 100, 50, 1), 0.05))
    time.sleep(0.06)
    expired = used(runner, store)
    runner.run(store.settle("a", {"acme/tokens": 40, "acme/usd": 20}))
    runner.run(store.settle("a", {"acme/tokens": 40, "acme/usd": 20}))

    assert expired == [(1, 0), (0, 0), (0, 0), (0, 0)]
    assert used(runner, store) == [(1, 0), (40, 0), (20, 0), (0, 0)]


def test_what_expired_counts_no_more_for_the_next_admission(
    store: RemoteStore, runner: asyncio.Runner
) -> None:
    limit = budget(1_000)
    for number in range(250):  # more than a store may look after in one go
        admitted(runner.run(store.admit(str(number), [Ask(limit, 4)], 0.3)))
    refused(runner.run(store.admit("full", [Ask(limit, 4)], 30)))
    time.sleep(0.35)

    admitted(runner.run(store.admit("all", [Ask(limit, 1_000)], 30)))


def test_nothing_asked_is_nothing_taken(store: RemoteStore, runner: asyncio.Runner) -> None:
    assert admitted(runner.run(store.admit("a", [], 30))).states == ()
    assert runner.run(store.settle("a", {})) == ()


def test_any_text_is_an_id(store: RemoteStore, runner: asyncio.Runner) -> None:
    name = 'x{y}}\n "ü\x00\u2028' + "9" * 300
    limit = budget(100, node="ø/}{ *")
    runner.run(store.admit(name, [Ask(limit, 10)], 30))
    runner.run(store.settle(name, {limit.id: 7}))

    assert used(runner, store, (limit,)) == [(7, 0)]


def test_large_numbers_are_exact(store: RemoteStore, runner: asyncio.Runner) -> None:
    """A billion dollars, and amounts that a double would round if they were written as text carelessly."""
    limit = budget(1_000_000_000_000_001)
    runner.run(store.admit("a", [Ask(limit, 999_999_999_999_999)], 30))
    runner.run(store.settle("a", {limit.id: 999_999_999_999_998}))

    (state,) = runner.run(store.look((limit,)))
    assert (state.used, state.remaining) == (999_999_999_999_998, 3)


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "settle", "release"]),
        st.integers(0, 4),
        st.tuples(st.integers(0, 2), st.integers(0, 300), st.integers(0, 500), st.integers(0, 2)),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS, shadow=st.booleans())
def test_every_store_answers_alike(
    operations: list[tuple[str, int, tuple[int, int, int, int]]],
    shadow: bool,
    alone: RedisProcess,
    runner: asyncio.Runner,
) -> None:
    limits = (ALL[0], tokens(600, shadow=shadow), ALL[2], ALL[3])

    async def play(backend: Backend) -> list[object]:
        seen: list[object] = []
        async with backend(alone) as store:
            for verb, number, costs in operations:
                name = str(number)
                wants = [Ask(limit, cost) for limit, cost in zip(limits, costs, strict=True)]
                if verb == "admit":
                    answer = await store.admit(name, wants, 1000)
                    if isinstance(answer, Refused):
                        seen.append((answer.state.limit.id, answer.cost, answer.retry_after_s is None))
                    else:
                        seen.append([one.state.limit.id for one in answer.shadowed])
                elif verb == "settle":
                    ended = await store.settle(name, {ask.limit.id: ask.cost for ask in wants[1:3]})
                    seen.append([(state.limit.id, state.used, state.reserved) for state in ended])
                else:
                    await store.release(name)
                states = await store.look(limits)
                seen.append([(state.used, state.reserved, state.remaining) for state in states])
        return seen

    assert runner.run(play(_redis)) == runner.run(play(_memory))
