"""The tier in its file: restarts, other workers, purges, and a file that cannot be written."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest
from tests.unit.cache.semantic.known import known, vector

from fairlead.cache.purge import Purge
from fairlead.cache.semantic.audit import Rules, State
from fairlead.cache.semantic.saved import SemanticFile
from fairlead.cache.semantic.store import Store
from fairlead.cache.semantic.tier import SemanticTier
from fairlead.cache.trouble import Trouble
from fairlead.errors import StorageError
from fairlead.storage.migrate import migrate, migrations
from fairlead.storage.ports import Row, Value
from fairlead.storage.sqlite import SqliteDatabase

RULES = Rules(max_false_hit_rate=0.1)


class Failing:
    """A database whose writes, or reads too, can be made to fail as on a full disk or behind a lock."""

    def __init__(self, inner: SqliteDatabase) -> None:
        self.inner = inner
        self.writes_fail = self.reads_fail = False

    async def fetch(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        if self.reads_fail:
            raise StorageError("database is locked")
        return await self.inner.fetch(sql, params)

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        self._write()
        return await self.inner.execute(sql, params)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        self._write()
        await self.inner.execute_many(sql, rows)

    async def transaction(self, statements: Sequence[tuple[str, Sequence[Value]]]) -> list[int]:
        self._write()
        return await self.inner.transaction(statements)

    async def close(self) -> None:
        await self.inner.close()

    def _write(self) -> None:
        if self.writes_fail:
            raise StorageError("the disk is full")


@contextlib.asynccontextmanager
async def database() -> AsyncIterator[Failing]:
    made = Failing(await SqliteDatabase.open(None))
    await migrate(made, migrations("schema_cache"), now=0.0, name="test")
    try:
        yield made
    finally:
        await made.close()


def worker(of: Failing, number: int = 0, *, now: float = 1500.0, max_bytes: int = 1_000_000) -> SemanticTier:
    """A worker's tier; its file is driven by the test."""
    tier = SemanticTier(Store(max_bytes), Trouble(lambda: 0.0), workers=2, now=lambda: now)
    tier.file = SemanticFile(
        of, tier.store, worker=number, trouble=tier.trouble, changed=tier.changed, now=lambda: now
    )
    return tier


def file_of(tier: SemanticTier) -> SemanticFile:
    assert tier.file is not None
    return tier.file


def texts(tier: SemanticTier) -> list[str]:
    return sorted(near.known.text for near in tier.store.near(b"f" * 32, "e", vector(1, 1)))


def test_entries_survive_a_restart_and_reach_other_workers() -> None:
    async def scenario() -> None:
        async with database() as there:
            one, other = worker(there), worker(there, 1)
            one.keep(known(1), vector(1, 0))
            await file_of(one).flush()
            await file_of(other).follow()
            other.keep(known(2), vector(0, 1))
            other.keep(known(1, created_at=1400.0, text="newer"), vector(1, 0))
            await file_of(other).flush()
            await file_of(one).follow()
            again = worker(there)
            await file_of(again).follow()

            assert texts(one) == texts(other) == texts(again) == ["newer", "question 2"]

    asyncio.run(scenario())


def test_what_has_ended_is_not_read_and_the_oldest_make_room() -> None:
    async def scenario() -> None:
        async with database() as there:
            tier = worker(there, max_bytes=100_000)
            for number in range(400):
                tier.keep(known(number), vector(1, number))
                if number % 50 == 0:
                    await file_of(tier).flush()
            await file_of(tier).flush()
            await file_of(tier).make_room()
            ((count, size, first),) = await there.fetch(
                "SELECT COUNT(*), SUM(size_bytes), MIN(id) FROM semantic_entries"
            )
            assert isinstance(count, int)
            assert isinstance(size, int)
            assert isinstance(first, int)
            assert 0 < size <= 100_000
            late = worker(there, now=3000.0)
            await file_of(late).follow()
            assert len(late.store) == 0
            await file_of(late).make_room()
            assert await there.fetch("SELECT COUNT(*) FROM semantic_entries") == [(0,)]

    asyncio.run(scenario())


def test_a_damaged_row_is_nothing_and_is_counted() -> None:
    async def scenario() -> None:
        async with database() as there:
            tier = worker(there)
            tier.keep(known(1), vector(1, 0))
            tier.keep(known(2), vector(0, 1))
            await file_of(tier).flush()
            await there.execute("UPDATE semantic_entries SET blob = ? WHERE id = 1", (b"x" * 100,))
            again = worker(there)
            await file_of(again).follow()

            assert texts(again) == ["question 2"]
            assert again.trouble.counts == {("semantic", "damaged"): 1}

    asyncio.run(scenario())


async def taught(there: Failing, number: int = 0) -> SemanticTier:
    """A worker that has switched off, and has written it down."""
    tier = worker(there, number)
    await tier.load({"e"})
    watch = tier.watch("gpt", "e", RULES)
    for _ in range(60):
        watch.verified(0.99, right=True, hit=False)
    for _ in range(90):
        watch.verified(0.99, right=False, hit=False)
    assert watch.state is State.OFF
    tier.served("e")
    await file_of(tier).save_learned()
    return tier


def test_a_route_that_is_off_stays_off_over_a_restart_for_its_worker_alone() -> None:
    async def scenario() -> None:
        async with database() as there:
            before = await taught(there)
            again, other = worker(there), worker(there, 1)
            for tier in (again, other):
                await tier.load({"e"})

            watch = again.watch("gpt", "e", RULES)
            assert watch.status() == before.watch("gpt", "e", RULES).status()
            assert watch.state is State.OFF
            assert other.watch("gpt", "e", RULES).state is State.LEARNING

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("purge", "anew"),
    [
        (Purge(before=1500.0), True),
        (Purge(before=1500.0, model="gpt"), True),
        (Purge(before=1500.0, model="other"), False),
        (Purge(before=1500.0, tenant="acme"), False),
        (Purge(before=1400.0), False),
    ],
)
def test_only_a_purge_of_all_that_a_model_has_begins_anew(purge: Purge, anew: bool) -> None:
    async def scenario() -> None:
        async with database() as there:
            tier = await taught(there)
            await tier.purge(purge)
            await file_of(tier).save_learned()
            again = worker(there)
            await again.load({"e"})

            expected = State.LEARNING if anew else State.OFF
            assert tier.watch("gpt", "e", RULES).state is expected
            assert again.watch("gpt", "e", RULES).state is expected

    asyncio.run(scenario())


def test_a_purge_takes_what_is_in_the_file_and_what_waits() -> None:
    async def scenario() -> None:
        async with database() as there:
            one, other = worker(there), worker(there, 1)
            one.keep(known(1), vector(1, 0))
            await file_of(one).flush()
            await file_of(other).follow()
            one.keep(known(2), vector(0, 1))
            one.keep(known(3, tenant="globex"), vector(1, 1))
            meant = Purge(before=1400.0, tenant="acme")

            done = await one.purge(meant)
            await other.follow_purge(meant)
            await file_of(one).flush()
            await file_of(other).follow()

            assert done.entries == 1
            assert texts(one) == texts(other) == ["question 3"]
            assert await there.fetch("SELECT tenant FROM semantic_entries") == [("globex",)]

    asyncio.run(scenario())


def test_a_file_that_cannot_be_written_costs_nothing_but_the_file() -> None:
    async def scenario() -> None:
        async with database() as there:
            tier = worker(there)
            file = file_of(tier)
            there.writes_fail = there.reads_fail = True
            tier.keep(known(1), vector(1, 0))
            assert not await file._turn(0.0)
            assert await file.learned("e") is None
            assert texts(tier) == ["question 1"]
            assert tier.trouble.counts["semantic", "put"] >= 1
            assert tier.trouble.counts["semantic", "get"] >= 1
            for number in range(2, 4000):
                tier.keep(known(number, text="x" * 1000), vector(1, number))
            assert tier.trouble.counts["semantic", "dropped"] > 0
            assert file._pending_bytes <= 1_000_000 // 8
            there.writes_fail = there.reads_fail = False
            assert await file._turn(100.0)
            assert file._pending_bytes == 0

    asyncio.run(scenario())
