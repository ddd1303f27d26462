"""The state of limits over restarts of the process, and over failures of the database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import pytest
from tests.unit.limits.made import Clock, budget, places, requests, tokens

from fairlead.errors import StorageError, StorageUnusable
from fairlead.limits.quota import Ask, State
from fairlead.limits.saved import Saver, open_saved
from fairlead.storage.connect import open_database
from fairlead.storage.ports import Database, Row, Value

ALL = (requests(6), tokens(600), budget(1000), places(3))
ASKS = [Ask(limit, 1) for limit in ALL]


class Failing:
    """A database whose transactions can be made to fail."""

    def __init__(self, inner: Database) -> None:
        self.inner = inner
        self.fails = False

    async def fetch(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        return await self.inner.fetch(sql, params)

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        return await self.inner.execute(sql, params)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        await self.inner.execute_many(sql, rows)

    async def transaction(self, statements: Sequence[tuple[str, Sequence[Value]]]) -> list[int]:
        if self.fails:
            raise StorageError("the disk is full")
        return await self.inner.transaction(statements)

    async def close(self) -> None:
        await self.inner.close()


def with_database(scenario: Callable[[Failing, Clock], Awaitable[None]]) -> None:
    async def main() -> None:
        database = Failing(await open_database(":memory:"))
        try:
            await scenario(database, Clock())
        finally:
            await database.close()

    asyncio.run(main())


def look(saver: Saver) -> list[tuple[int, int]]:
    return [(state.used, state.reserved) for state in saver.store.look(ALL)]


async def rows(database: Failing) -> tuple[int, int]:
    """How many cells and reservations are kept."""
    ((cells,),) = await database.fetch("SELECT count(*) FROM limit_cells")
    ((reservations,),) = await database.fetch("SELECT count(*) FROM limit_reservations")
    return int(cells or 0), int(reservations or 0)


def test_a_stopped_store_goes_on_exactly_where_it_was() -> None:
    async def scenario(database: Failing, clock: Clock) -> None:
        saver = await open_saved(database, clock)
        saver.start()
        saver.store.admit("a", [Ask(ALL[0], 1), Ask(ALL[1], 250), Ask(ALL[2], 700)], 60)
        saver.store.settle("a", {ALL[1].id: 123, ALL[2].id: 456})
        before: tuple[State, ...] = saver.store.look(ALL)
        await saver.stop()

        assert (await open_saved(database, clock)).store.look(ALL) == before
        assert before[2].used == 456

    with_database(scenario)


def test_what_was_open_in_a_crash_is_reserved_until_it_expires_and_its_places_are_free() -> None:
    async def scenario(database: Failing, clock: Clock) -> None:
        saver = await open_saved(database, clock)
        saver.store.admit("a", ASKS, 30)
        await saver.flush()

        again = await open_saved(database, clock)

        assert look(again) == [(1, 0), (1, 0), (0, 1), (0, 0)]
        clock.forward(30)
        assert look(again) == [(0, 0), (0, 0), (0, 0), (0, 0)]
        await again.flush()
        assert (await rows(database))[1] == 0

    with_database(scenario)


def test_a_crash_loses_what_came_after_the_last_write_only() -> None:
    async def scenario(database: Failing, clock: Clock) -> None:
        saver = await open_saved(database, clock)
        for name, cost in (("a", 100), ("b", 20)):
            saver.store.admit(name, [Ask(ALL[2], cost)], 30)
            saver.store.settle(name, {ALL[2].id: cost})
            if name == "a":
                await saver.flush()

        assert look(await open_saved(database, clock))[2] == (100, 0)

    with_database(scenario)


def test_requests_that_come_and_go_between_two_writes_are_never_written() -> None:
    async def scenario(database: Failing, clock: Clock) -> None:
        saver = await open_saved(database, clock)
        for number in range(500):
            saver.store.admit(f"r{number}", [Ask(ALL[2], 1)], 30)
            saver.store.settle(f"r{number}", {})
        saver.store.admit("open", [Ask(ALL[2], 1)], 30)
        await saver.flush()

        assert await rows(database) == (1, 1)

    with_database(scenario)


def test_limits_that_are_idle_after_a_restart_leave_the_database() -> None:
    async def scenario(database: Failing, clock: Clock) -> None:
        saver = await open_saved(database, clock)
        saver.store.admit("a", ASKS, 30)
        await saver.flush()
        clock.forward(7200)

        again = await open_saved(database, clock)
        again.store.look([])
        await again.flush()
        last = await open_saved(database, clock)
        await last.flush()

        assert await rows(database) == (0, 0)

    with_database(scenario)


def test_a_write_that_fails_is_made_again(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(database: Failing, clock: Clock) -> None:
        saver = await open_saved(database, clock)
        database.fails = True
        saver.store.admit("a", ASKS, 30)
        for _ in range(2):
            with pytest.raises(StorageError):
                await saver.flush()
        saver.store.settle("a", {ALL[2].id: 300})
        await saver.stop()
        assert saver.failures == 1
        database.fails = False
        await saver.flush()

        assert look(await open_saved(database, clock))[2] == (300, 0)

    with caplog.at_level(logging.ERROR):
        with_database(scenario)
    assert [record.message for record in caplog.records] == ["the state of limits cannot be saved"]


def test_rows_that_cannot_be_read_stop_the_start() -> None:
    async def scenario(database: Failing, clock: Clock) -> None:
        await database.execute("INSERT INTO limit_cells (id, detail) VALUES (?, ?)", ("x", b"nonsense"))

        with pytest.raises(StorageUnusable, match="saved state of limits"):
            await open_saved(database, clock)

    with_database(scenario)
