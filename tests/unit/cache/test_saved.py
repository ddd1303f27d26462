"""Answers in the file: written behind, within their bytes, and purged in every process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest
from tests.unit.cache.made import blob, space

from fairlead.cache.purge import Purge
from fairlead.cache.saved import SavedTier
from fairlead.cache.trouble import Trouble
from fairlead.errors import StorageError
from fairlead.storage.migrate import migrate, migrations
from fairlead.storage.ports import Row, Value
from fairlead.storage.sqlite import SqliteDatabase

HERE = space()


class Failing:
    """A database whose writes can be made to fail."""

    def __init__(self, inner: SqliteDatabase) -> None:
        self.inner = inner
        self.fails = False
        self.writes = 0

    async def fetch(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        return await self.inner.fetch(sql, params)

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        return await self.inner.execute(sql, params)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        self.writes += 1
        if self.fails:
            raise StorageError("the disk is full")
        await self.inner.execute_many(sql, rows)

    async def transaction(self, statements: Sequence[tuple[str, Sequence[Value]]]) -> list[int]:
        return await self.inner.transaction(statements)

    async def close(self) -> None:
        await self.inner.close()


class Opened:
    """A store on a database in memory, with a clock of its own."""

    def __init__(self, database: Failing, *, max_bytes: int, pending_bytes: int) -> None:
        self.database = database
        self.now = 1000.0
        self.purged: list[Purge] = []
        self.trouble = Trouble(lambda: 0.0)
        self.tier = SavedTier(
            database,
            max_bytes=max_bytes,
            pending_bytes=pending_bytes,
            trouble=self.trouble,
            purged=self._purged,
            now=lambda: self.now,
        )

    async def _purged(self, purge: Purge) -> None:
        self.purged.append(purge)

    async def count(self) -> int:
        ((count,),) = await self.database.fetch("SELECT COUNT(*) FROM cache_entries")
        return int(count or 0)


@contextlib.asynccontextmanager
async def database() -> AsyncIterator[Failing]:
    inner = await SqliteDatabase.open(None)
    await migrate(inner, migrations("schema_cache"), now=0.0, name=inner.name)
    try:
        yield Failing(inner)
    finally:
        await inner.close()


@contextlib.asynccontextmanager
async def opened(*, max_bytes: int = 1_000_000, pending_bytes: int = 100_000) -> AsyncIterator[Opened]:
    async with database() as made:
        yield Opened(made, max_bytes=max_bytes, pending_bytes=pending_bytes)


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_what_waits_to_be_written_can_be_read() -> None:
    async def scenario() -> None:
        async with opened() as made:
            entry = blob(key(1))
            made.tier.put(key(1), HERE, entry, 100.0)

            assert await made.tier.get(key(1), HERE) == entry
            assert await made.count() == 0
            await made.tier.flush()
            assert await made.count() == 1
            assert made.tier.pending_bytes == 0

    asyncio.run(scenario())


def test_many_are_written_together() -> None:
    async def scenario() -> None:
        async with opened(pending_bytes=1_000_000) as made:
            for number in range(600):
                made.tier.put(key(number), HERE, blob(key(number)), 100.0)
            await made.tier.flush()

            assert await made.count() == 600
            assert made.database.writes == 3

    asyncio.run(scenario())


def test_what_failed_to_be_written_waits_for_the_next_time() -> None:
    async def scenario() -> None:
        async with opened() as made:
            made.database.fails = True
            made.tier.put(key(1), HERE, blob(key(1)), 100.0)
            with pytest.raises(StorageError):
                await made.tier.flush()
            newer = blob(key(1), b"newer")
            made.tier.put(key(1), HERE, newer, 100.0)
            assert await made.tier.get(key(1), HERE) == newer

            made.database.fails = False
            await made.tier.flush()
            assert await made.tier.get(key(1), HERE) == newer
            assert await made.count() == 1

    asyncio.run(scenario())


def test_no_more_waits_than_may_and_the_rest_is_counted() -> None:
    async def scenario() -> None:
        async with opened(pending_bytes=3000) as made:
            made.database.fails = True
            for number in range(100):
                made.tier.put(key(number), HERE, blob(key(number), b"x" * 200), 100.0)
                with contextlib.suppress(StorageError):
                    await made.tier.flush()
                assert made.tier.pending_bytes <= 3000
            dropped = made.trouble.counts["disk", "dropped"]
            assert 80 < dropped < 100

            made.database.fails = False
            await made.tier.flush()
            assert await made.count() == 100 - dropped

    asyncio.run(scenario())


def test_replacing_what_waits_takes_no_room_twice() -> None:
    async def scenario() -> None:
        async with opened(pending_bytes=1000) as made:
            for _ in range(10):
                made.tier.put(key(1), HERE, blob(key(1), b"x" * 600), 100.0)
            assert not made.trouble.counts
            made.tier.drop(key(1), HERE)
            assert made.tier.pending_bytes == 0

    asyncio.run(scenario())


def test_what_has_ended_and_what_ends_soonest_makes_room() -> None:
    async def scenario() -> None:
        async with opened(max_bytes=20 * (len(blob(key(0))) + 200)) as made:
            for number in range(50):
                entry = blob(key(number), created_at=0.0, ttl_s=990.0 + number, kept_s=990.0 + number)
                made.tier.put(key(number), HERE, entry, 100.0)
            await made.tier.flush()
            await made.tier.make_room()

            found = [number for number in range(50) if await made.tier.get(key(number), HERE) is not None]
            assert 15 <= len(found) <= 20
            assert found == list(range(50 - len(found), 50))

    asyncio.run(scenario())


def test_an_entry_that_may_be_given_in_an_outage_has_not_ended() -> None:
    async def scenario() -> None:
        async with opened() as made:
            made.tier.put(key(1), HERE, blob(key(1), created_at=0.0, ttl_s=10.0, kept_s=2000.0), 2000.0)
            await made.tier.flush()
            await made.tier.make_room()
            assert await made.count() == 1
            made.now = 2000.0
            await made.tier.make_room()
            assert await made.count() == 0

    asyncio.run(scenario())


def test_other_processes_hear_of_a_purge_once() -> None:
    async def scenario() -> None:
        async with database() as shared:
            first, second = (Opened(shared, max_bytes=1_000_000, pending_bytes=100_000) for _ in range(2))
            await second.tier.follow_purges()
            second.tier.put(key(1), HERE, blob(key(1), created_at=900.0), 100.0)
            second.tier.put(key(2), space("globex"), blob(key(2), where=space("globex")), 100.0)
            purge = Purge(before=1000.0, tenant="acme")

            await first.tier.purge(purge, dry_run=True)
            await second.tier.follow_purges()
            assert second.purged == []
            await first.tier.purge(purge)
            await second.tier.follow_purges()
            await second.tier.follow_purges()
            assert second.purged == [purge]

            # What had not been written yet is not written any more.
            await second.tier.flush()
            assert await second.tier.get(key(1), HERE) is None
            assert await second.tier.get(key(2), HERE) is not None

    asyncio.run(scenario())


def test_purges_of_before_the_start_are_heard_of_too() -> None:
    """One that was noted while a process opened the file could be about what it has read since."""

    async def scenario() -> None:
        async with database() as shared:
            first = Opened(shared, max_bytes=1_000_000, pending_bytes=1000)
            await first.tier.purge(Purge(before=1.0))
            late = Opened(shared, max_bytes=1_000_000, pending_bytes=1000)
            await late.tier.follow_purges()
            await late.tier.follow_purges()
            assert late.purged == [Purge(before=1.0)]

    asyncio.run(scenario())


def test_old_notes_of_purges_go_but_their_numbers_are_not_used_again() -> None:
    async def scenario() -> None:
        async with opened() as made:
            await made.tier.follow_purges()
            for _ in range(3):
                await made.tier.purge(Purge(before=1.0))
            await made.tier.follow_purges()
            made.now += 10 * 86_400
            await made.tier.make_room()
            assert await made.database.fetch("SELECT id FROM cache_purges") == [(3,)]
            await made.tier.purge(Purge(before=2.0))
            await made.tier.follow_purges()
            assert len(made.purged) == 4

    asyncio.run(scenario())


def test_stop_writes_what_waits_and_survives_a_failure() -> None:
    async def scenario() -> None:
        async with opened() as made:
            made.tier.start()
            made.tier.put(key(1), HERE, blob(key(1)), 100.0)
            await made.tier.stop()
            assert await made.count() == 1

            made.database.fails = True
            made.tier.put(key(2), HERE, blob(key(2)), 100.0)
            await made.tier.stop()
            assert made.trouble.counts["disk", "put"] == 1

    asyncio.run(scenario())


def test_a_column_of_another_type_is_not_taken_for_an_entry() -> None:
    async def scenario() -> None:
        async with opened() as made:
            made.tier.put(key(1), HERE, blob(key(1)), 100.0)
            await made.tier.flush()
            await made.database.execute("UPDATE cache_entries SET blob = 'text'")
            assert await made.tier.get(key(1), HERE) == b""

    asyncio.run(scenario())
