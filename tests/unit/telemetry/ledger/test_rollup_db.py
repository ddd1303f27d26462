"""Roll-ups in SQL: each request once, whatever happens in between."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence

import pytest
from tests.unit.telemetry.records import NOW, full_record, record

from fairlead.errors import StorageError
from fairlead.storage.connect import open_database
from fairlead.storage.ports import Database, Row, Value
from fairlead.telemetry.ledger.db import Ledger
from fairlead.telemetry.ledger.rollup_db import Rollups, kept_from_of
from fairlead.telemetry.ledger.rollup_job import catch_up
from fairlead.types import Outcome, RequestRecord

DAY = 86_400


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def database(runner: asyncio.Runner) -> Iterator[Database]:
    database = runner.run(open_database(":memory:"))
    yield database
    runner.run(database.close())


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)


class Meddled:
    """A database in which something happens just before a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.before: list[object] = []

    async def fetch(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        return await self._database.fetch(sql, params)

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        return await self._database.execute(sql, params)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        await self._database.execute_many(sql, rows)

    async def transaction(self, statements: Sequence[tuple[str, Sequence[Value]]]) -> list[int]:
        if self.before:
            act = self.before.pop()
            if isinstance(act, Exception):
                raise act
            await act()  # type: ignore[operator]  # a function, by the tests
        return await self._database.transaction(statements)

    async def close(self) -> None:
        await self._database.close()


def write(runner: asyncio.Runner, ledger: Ledger, *records: RequestRecord) -> None:
    ledger.take(records)
    runner.run(ledger.commit())


def totals(runner: asyncio.Runner, database: Database) -> dict[int, int]:
    rows = runner.run(
        database.fetch("SELECT span_s, CAST(SUM(requests) AS BIGINT) FROM rollups GROUP BY span_s")
    )
    return {int(span_s or 0): int(count or 0) for span_s, count in rows}


def journal(runner: asyncio.Runner, database: Database) -> int:
    return int(runner.run(database.fetch("SELECT COUNT(*) FROM rollup_journal"))[0][0] or 0)


def all_of(count: int) -> dict[int, int]:
    return {60: count, 3600: count, DAY: count}


def test_what_is_written_is_rolled_up_into_minutes_hours_and_days(
    runner: asyncio.Runner, database: Database, ledger: Ledger
) -> None:
    write(runner, ledger, *(record(number, started_at=NOW + number * 50) for number in range(700)))
    assert totals(runner, database) == {}

    runner.run(catch_up(ledger, Rollups(database), pause_s=0))

    assert totals(runner, database) == all_of(700)
    assert journal(runner, database) == 0
    rows = runner.run(database.fetch("SELECT span_s, COUNT(*) FROM rollups GROUP BY span_s"))
    assert {int(span_s or 0): count for span_s, count in rows} == {60: 583, 3600: 10, DAY: 2}


def test_later_batches_are_added_in_whatever_order(
    runner: asyncio.Runner, database: Database, ledger: Ledger
) -> None:
    order = list(range(300))
    random.Random(3).shuffle(order)
    rollups = Rollups(database)
    for start in range(0, 300, 50):
        write(runner, ledger, *(record(number) for number in order[start : start + 50]))
        runner.run(catch_up(ledger, rollups, pause_s=0))
    one_by_one = runner.run(database.fetch("SELECT * FROM rollups ORDER BY span_s, start_at, series"))

    again = runner.run(open_database(":memory:"))
    other = Ledger(again)
    write(runner, other, *(record(number) for number in range(300)))
    runner.run(catch_up(other, Rollups(again), pause_s=0))

    at_once = runner.run(again.fetch("SELECT * FROM rollups ORDER BY span_s, start_at, series"))
    runner.run(again.close())
    assert one_by_one == at_once


def test_nothing_to_do_does_nothing(runner: asyncio.Runner, database: Database) -> None:
    assert runner.run(Rollups(database).step()) is False


def test_a_batch_that_was_written_twice_counts_once(
    runner: asyncio.Runner, database: Database, ledger: Ledger
) -> None:
    meddled = Meddled(database)
    twice = Ledger(meddled)
    twice.take(record(number) for number in range(10))

    async def committed_and_lost() -> None:
        chunk = twice._full[0]
        await database.transaction(list(chunk.statements()))
        raise StorageError("nobody knows whether it was committed")

    meddled.before = [committed_and_lost]
    with pytest.raises(StorageError):
        runner.run(twice.commit())
    runner.run(twice.commit())

    runner.run(catch_up(ledger, Rollups(database), pause_s=0))
    assert totals(runner, database) == all_of(10)


def test_a_step_that_fails_has_done_nothing(
    runner: asyncio.Runner, database: Database, ledger: Ledger
) -> None:
    write(runner, ledger, record(1), record(2))
    meddled = Meddled(database)
    meddled.before = [StorageError("down")]
    rollups = Rollups(meddled)
    with pytest.raises(StorageError):
        runner.run(rollups.step())
    assert (totals(runner, database), journal(runner, database)) == ({}, 1)

    assert runner.run(rollups.step()) is True
    assert (totals(runner, database), journal(runner, database)) == (all_of(2), 0)


def test_who_was_slower_with_the_same_step_has_done_nothing(
    runner: asyncio.Runner, database: Database, ledger: Ledger
) -> None:
    write(runner, ledger, record(1), record(2))
    meddled = Meddled(database)
    meddled.before = [Rollups(database).step]
    slower = Rollups(meddled)

    runner.run(catch_up(ledger, slower, pause_s=0))

    assert slower.conflicts == 1
    assert totals(runner, database) == all_of(2)


def test_several_at_once_roll_everything_up_once(
    runner: asyncio.Runner, database: Database, ledger: Ledger
) -> None:
    for start in range(0, 400, 20):
        write(runner, ledger, *(record(number) for number in range(start, start + 20)))

    async def scenario() -> None:
        await asyncio.gather(*(catch_up(ledger, Rollups(database), pause_s=0) for _ in range(4)))

    runner.run(scenario())
    assert totals(runner, database) == all_of(400)


def test_an_error_of_the_statements_themselves_is_not_taken_for_a_conflict(
    runner: asyncio.Runner, database: Database, ledger: Ledger
) -> None:
    write(runner, ledger, record(1))
    runner.run(database.execute("DROP TABLE rollup_series"))

    with pytest.raises(StorageError):
        runner.run(Rollups(database).step())
    assert journal(runner, database) == 1


def test_a_row_of_the_journal_that_cannot_be_read_stops_nobody(
    runner: asyncio.Runner, database: Database, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    write(runner, ledger, record(1))
    runner.run(database.execute("INSERT INTO rollup_journal (id, batch) VALUES ('bad', ?)", (b"\xc1",)))
    rollups = Rollups(database)
    runner.run(catch_up(ledger, rollups, pause_s=0))

    assert rollups.damaged == 1
    assert totals(runner, database) == all_of(1)
    assert journal(runner, database) == 0
    assert "bad" in str([vars(entry).get("row") for entry in caplog.records])


def test_requests_from_before_there_was_a_journal_are_rolled_up_as_the_others(
    runner: asyncio.Runner, database: Database, ledger: Ledger
) -> None:
    records = [*(record(number) for number in range(300)), full_record()]
    write(runner, ledger, *records)
    runner.run(catch_up(ledger, Rollups(database), pause_s=0))
    expected = runner.run(database.fetch("SELECT * FROM rollups ORDER BY span_s, start_at, series"))
    runner.run(database.execute("DELETE FROM rollups"))
    runner.run(database.execute("UPDATE requests SET rolled_up = 0"))

    runner.run(catch_up(ledger, Rollups(database), pause_s=0))

    assert runner.run(database.fetch("SELECT * FROM rollups ORDER BY span_s, start_at, series")) == expected
    assert runner.run(database.fetch("SELECT COUNT(*) FROM requests WHERE rolled_up = 0")) == [(0,)]


def test_the_same_old_requests_are_taken_up_by_one_of_two(
    runner: asyncio.Runner, database: Database, ledger: Ledger
) -> None:
    write(runner, ledger, *(record(number) for number in range(5)))
    runner.run(database.execute("DELETE FROM rollup_journal"))
    runner.run(database.execute("UPDATE requests SET rolled_up = 0"))
    found = runner.run(ledger.not_rolled_up(100))
    assert found is not None

    assert runner.run(Rollups(database).adopt("first", *found)) is True
    assert runner.run(Rollups(database).adopt("second", *found)) is False

    runner.run(catch_up(ledger, Rollups(database), pause_s=0))
    assert totals(runner, database) == all_of(5)


def test_a_refused_batch_is_rolled_up_row_by_row_later(
    runner: asyncio.Runner, database: Database, ledger: Ledger
) -> None:
    write(runner, ledger, record(1), record(2, tenant="\ud800"), record(3, outcome=Outcome.CUT))

    runner.run(catch_up(ledger, Rollups(database), pause_s=0))

    assert ledger.set_aside == 1
    assert totals(runner, database) == all_of(2)


def test_a_clock_that_jumps_back_and_forth_loses_and_doubles_nothing(
    runner: asyncio.Runner, database: Database, ledger: Ledger
) -> None:
    rollups = Rollups(database)
    jumps = [0, 3600, -7200, 400 * DAY, -NOW, 10]
    for turn, jump in enumerate(jumps):
        write(runner, ledger, *(record(turn * 10 + n, started_at=NOW + jump + n) for n in range(10)))
        runner.run(catch_up(ledger, rollups, pause_s=0))

    assert totals(runner, database) == all_of(60)


def test_old_rollups_are_gone_for_queries_first_and_deleted_later(
    runner: asyncio.Runner, database: Database, ledger: Ledger
) -> None:
    rollups = Rollups(database)
    write(runner, ledger, *(record(day, started_at=NOW - day * DAY) for day in range(10)))
    runner.run(catch_up(ledger, rollups, pause_s=0))
    now = int(NOW)
    kept = {60: now - 2 * DAY, 3600: now - 5 * DAY, DAY: now - 8 * DAY}

    assert runner.run(rollups.expire(kept, pause_s=0)) == 0
    floors = runner.run(kept_from_of(database))
    assert floors == {span_s: floor // DAY * DAY for span_s, floor in kept.items()}
    assert totals(runner, database) == all_of(10)

    assert runner.run(rollups.expire(kept, pause_s=0)) == 7 + 4 + 1
    assert totals(runner, database) == {60: 3, 3600: 6, DAY: 9}
    assert runner.run(rollups.expire(kept, pause_s=0)) == 0


def test_a_floor_never_goes_down(runner: asyncio.Runner, database: Database) -> None:
    rollups = Rollups(database)
    runner.run(rollups.expire({60: 5 * DAY, 3600: 4 * DAY, DAY: 3 * DAY}))
    runner.run(rollups.expire({60: 2 * DAY, 3600: 4 * DAY, DAY: 0}))

    assert runner.run(kept_from_of(database)) == {60: 5 * DAY, 3600: 4 * DAY, DAY: 3 * DAY}


def test_many_old_rollups_are_deleted_in_several_transactions(
    runner: asyncio.Runner, database: Database, ledger: Ledger
) -> None:
    rollups = Rollups(database)
    write(runner, ledger, *(record(minute, started_at=NOW + minute * 60) for minute in range(1440)))
    runner.run(catch_up(ledger, rollups, pause_s=0))
    kept = {60: int(NOW) + 3 * DAY, 3600: 0, DAY: 0}
    runner.run(rollups.expire(kept, pause_s=0))

    assert runner.run(rollups.expire(kept, pause_s=0)) == 1440
    assert totals(runner, database) == {3600: 1440, DAY: 1440}


def test_names_that_nobody_has_used_for_long_are_forgotten(
    runner: asyncio.Runner, database: Database, ledger: Ledger
) -> None:
    rollups = Rollups(database)
    write(runner, ledger, record(1, started_at=NOW - 50 * DAY, tenant="old"), record(2))
    runner.run(catch_up(ledger, rollups, pause_s=0))
    floor = int(NOW) - 10 * DAY
    runner.run(rollups.expire({60: floor, 3600: floor, DAY: floor}, pause_s=0))

    assert runner.run(database.fetch("SELECT tenant FROM rollup_series")) == [("acme",)]
