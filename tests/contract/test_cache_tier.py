"""What every store of answers does: in memory, in a file, on a real Redis, alone or as a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.e2e.redis_server import RedisProcess, start_redis
from tests.unit.cache.made import blob, space

from fairlead.cache.entry import checked
from fairlead.cache.key import Space
from fairlead.cache.lookup import Tier
from fairlead.cache.memory import MemoryTier
from fairlead.cache.purge import Purge, Purged, Size
from fairlead.cache.saved import SavedTier
from fairlead.cache.shared import SharedTier
from fairlead.cache.trouble import Trouble
from fairlead.storage.connect import open_cache_file
from fairlead.storage.redis import RedisServer

NOW = float(int(time.time()))
KEYS = [bytes([number]) * 32 for number in range(8)]


class Settled:
    """A store that is asked when everything that was put has arrived."""

    def __init__(self, tier: Tier, settle: Callable[[], Coroutine[None, None, None]]) -> None:
        self._tier = tier
        self._settle = settle
        self.name = tier.name

    async def get(self, key: bytes, space: Space) -> bytes | None:
        await self._settle()
        return await self._tier.get(key, space)

    async def get_many(self, keys: Sequence[bytes], space: Space) -> dict[bytes, bytes]:
        await self._settle()
        return await self._tier.get_many(keys, space)

    def put(self, key: bytes, space: Space, blob: bytes, kept_s: float) -> None:
        self._tier.put(key, space, blob, kept_s)

    def drop(self, key: bytes, space: Space) -> None:
        self._tier.drop(key, space)

    async def purge(self, purge: Purge, *, dry_run: bool = False) -> Purged:
        await self._settle()
        return await self._tier.purge(purge, dry_run=dry_run)

    async def sizes(self) -> list[Size]:
        await self._settle()
        return await self._tier.sizes()


class Remembering:
    """The store in memory, called as the others are."""

    name = "memory"

    def __init__(self) -> None:
        self._tier = MemoryTier(10_000_000)

    async def get(self, key: bytes, space: Space) -> bytes | None:
        return self._tier.get(key)

    async def get_many(self, keys: Sequence[bytes], space: Space) -> dict[bytes, bytes]:
        return {key: blob for key in keys if (blob := self._tier.get(key)) is not None}

    def put(self, key: bytes, space: Space, blob: bytes, kept_s: float) -> None:
        self._tier.put(key, blob)

    def drop(self, key: bytes, space: Space) -> None:
        self._tier.drop(key)

    async def purge(self, purge: Purge, *, dry_run: bool = False) -> Purged:
        return await self._tier.purge(purge, dry_run=dry_run)

    async def sizes(self) -> list[Size]:
        return await self._tier.sizes()


async def _nothing(purge: Purge) -> None:
    pass


@contextlib.asynccontextmanager
async def _memory(_: RedisProcess, __: Path) -> AsyncIterator[Tier]:
    yield Remembering()


@contextlib.asynccontextmanager
async def _file(_: RedisProcess, directory: Path) -> AsyncIterator[Tier]:
    database = await open_cache_file(str(directory), now=NOW)
    assert database is not None
    trouble = Trouble()
    tier = SavedTier(
        database, max_bytes=10_000_000, pending_bytes=1_000_000, trouble=trouble, purged=_nothing
    )
    yield Settled(tier, tier.flush)
    assert not trouble.counts
    await database.execute("DELETE FROM cache_entries")
    await database.close()


@contextlib.asynccontextmanager
async def _redis(process: RedisProcess, _: Path, *, cluster: bool = False) -> AsyncIterator[Tier]:
    process.command("FLUSHALL")
    server = RedisServer(process.url, timeout_s=5.0, cluster=cluster)
    trouble = Trouble()
    tier = SharedTier(server, prefix="test:", pending_bytes=1_000_000, trouble=trouble, purged=_nothing)
    yield Settled(tier, tier.stop)
    assert not trouble.counts
    await server.close()


Backend = Callable[[RedisProcess, Path], AbstractAsyncContextManager[Tier]]

BACKENDS: dict[str, Backend] = {
    "memory": _memory,
    "file": _file,
    "redis": _redis,
    "cluster": lambda process, directory: _redis(process, directory, cluster=True),
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


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(params=list(BACKENDS))
def tier(
    request: pytest.FixtureRequest,
    runner: asyncio.Runner,
    alone: RedisProcess,
    clustered: RedisProcess,
    tmp_path: Path,
) -> Iterator[Tier]:
    process = clustered if request.param == "cluster" else alone
    opened = BACKENDS[request.param](process, tmp_path)
    yield runner.run(opened.__aenter__())
    runner.run(opened.__aexit__(None, None, None))


def put(tier: Tier, number: int, where: Space, *, payload: bytes = b"answer", age_s: float = 0.0) -> bytes:
    entry = blob(KEYS[number], payload, where, created_at=NOW - age_s, ttl_s=age_s + 100, kept_s=age_s + 100)
    tier.put(KEYS[number], where, entry, 100.0)
    return entry


def test_what_is_put_is_there_as_it_was(runner: asyncio.Runner, tier: Tier) -> None:
    payload = bytes(range(256)) * 40

    async def scenario() -> None:
        entry = put(tier, 0, space(), payload=payload)

        assert await tier.get(KEYS[0], space()) == entry
        found = checked(KEYS[0], entry)
        assert found is not None
        assert found.payload == payload
        assert await tier.get(KEYS[1], space()) is None

    runner.run(scenario())


def test_many_are_found_at_once_and_what_is_not_there_is_not(runner: asyncio.Runner, tier: Tier) -> None:
    async def scenario() -> None:
        entries = {KEYS[number]: put(tier, number, space(), payload=b"%d" % number) for number in (0, 2)}

        assert await tier.get_many([KEYS[0], KEYS[1], KEYS[2]], space()) == entries
        tier.drop(KEYS[0], space())
        many = [bytes([number % 256, number // 256]) * 16 for number in range(600)]
        assert await tier.get_many([*many, KEYS[0], KEYS[2]], space()) == {KEYS[2]: entries[KEYS[2]]}
        assert await tier.get_many([], space()) == {}

    runner.run(scenario())


def test_a_later_entry_replaces_an_earlier(runner: asyncio.Runner, tier: Tier) -> None:
    async def scenario() -> None:
        put(tier, 0, space())
        entry = put(tier, 0, space(), payload=b"another")

        assert await tier.get(KEYS[0], space()) == entry
        assert [size.entries for size in await tier.sizes()] == [1]

    runner.run(scenario())


def test_what_is_dropped_is_gone(runner: asyncio.Runner, tier: Tier) -> None:
    async def scenario() -> None:
        put(tier, 0, space())
        assert await tier.get(KEYS[0], space()) is not None
        tier.drop(KEYS[0], space())
        tier.drop(KEYS[1], space())

        assert await tier.get(KEYS[0], space()) is None

    runner.run(scenario())


def test_sizes_are_by_tenant_and_model(runner: asyncio.Runner, tier: Tier) -> None:
    async def scenario() -> None:
        put(tier, 0, space("acme", "gpt"))
        put(tier, 1, space("acme", "gpt"))
        put(tier, 2, space("acme", "other"))
        put(tier, 3, space("globex", "gpt"))

        sizes = await tier.sizes()
        assert [(size.tenant, size.model, size.entries) for size in sizes] == [
            ("acme", "gpt", 2),
            ("acme", "other", 1),
            ("globex", "gpt", 1),
        ]
        assert all(size.bytes >= 50 * size.entries for size in sizes)

    runner.run(scenario())


@pytest.mark.parametrize(
    ("purge", "left"),
    [
        (Purge(before=NOW + 1), []),
        (Purge(before=NOW + 1, tenant="acme"), [3, 4]),
        (Purge(before=NOW + 1, model="gpt"), [2]),
        (Purge(before=NOW + 1, tenant="acme", model="gpt"), [2, 3, 4]),
        (Purge(before=NOW - 50, tenant="acme"), [0, 2, 3, 4]),
        (Purge(before=NOW), [0, 2, 3, 4]),
        (Purge(before=NOW + 1, tenant="nobody"), [0, 1, 2, 3, 4]),
    ],
)
def test_a_purge_takes_what_it_names(
    runner: asyncio.Runner, tier: Tier, purge: Purge, left: list[int]
) -> None:
    async def scenario() -> None:
        places = [space("acme"), space("acme"), space("acme", "other"), space("globex"), space("globex")]
        for number, where in enumerate(places):
            put(tier, number, where, age_s=60.0 if number == 1 else 0.0)

        trial = await tier.purge(purge, dry_run=True)
        assert trial.entries == 5 - len(left)
        assert (trial.bytes > 0) == (trial.entries > 0)
        assert sum(size.entries for size in await tier.sizes()) == 5

        assert await tier.purge(purge) == trial
        found = [await tier.get(KEYS[number], where) for number, where in enumerate(places)]
        assert [number for number, entry in enumerate(found) if entry is not None] == left
        assert await tier.purge(purge) == Purged()

    runner.run(scenario())


def test_a_purge_of_many(runner: asyncio.Runner, tier: Tier) -> None:
    async def scenario() -> None:
        for number in range(900):
            key = number.to_bytes(32, "big")
            where = space("acme" if number % 3 else "globex")
            tier.put(key, where, blob(key, b"x", where, created_at=NOW), 100.0)

        assert (await tier.purge(Purge(before=NOW + 1, tenant="acme"))).entries == 600
        assert [(size.tenant, size.entries) for size in await tier.sizes()] == [("globex", 300)]

    runner.run(scenario())


CALLS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "drop", "purge"]),
        st.integers(0, 7),
        st.sampled_from(["acme", "globex"]),
        st.sampled_from([0.0, 30.0]),
    ),
    max_size=12,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(calls=CALLS)
def test_any_calls_leave_what_they_should(
    runner: asyncio.Runner, tier: Tier, calls: list[tuple[str, int, str, float]]
) -> None:
    """A key is one tenant's: number and tenant together make it, as real keys do."""

    async def scenario() -> None:
        await tier.purge(Purge(before=NOW + 1))
        held: dict[tuple[int, str], tuple[bytes, float]] = {}
        for what, number, tenant, age_s in calls:
            key = bytes([number]) * 31 + tenant[:1].encode()
            where = space(tenant)
            if what == "put":
                entry = blob(key, b"x" * number, where, created_at=NOW - age_s, ttl_s=500, kept_s=500)
                tier.put(key, where, entry, 500.0)
                held[number, tenant] = (entry, age_s)
            elif what == "drop":
                tier.drop(key, where)
                held.pop((number, tenant), None)
            else:
                await tier.purge(Purge(before=NOW - age_s + 1, tenant=tenant))
                held = {one: kept for one, kept in held.items() if one[1] != tenant or kept[1] < age_s}
        for number in range(8):
            for tenant in ("acme", "globex"):
                key = bytes([number]) * 31 + tenant[:1].encode()
                expected = held.get((number, tenant))
                assert await tier.get(key, space(tenant)) == (expected[0] if expected else None)

    runner.run(scenario())
