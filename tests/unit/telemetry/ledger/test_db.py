"""The ledger, on SQLite in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import msgspec
import pytest
from tests.unit.telemetry.records import NOW, full_record, record

from fairlead.errors import InvalidRequest, NotFound, StatementRejected, StorageError
from fairlead.storage.connect import open_database
from fairlead.storage.ports import Database, Row, Value
from fairlead.telemetry.ledger import db
from fairlead.telemetry.ledger.db import Filter, Ledger, Page
from fairlead.types import Outcome, RequestRecord, Usage

DAY = 86_400.0


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


class Flaky:
    """A database that fails when it is told to."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.failures = 0

    async def fetch(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        return await self._database.fetch(sql, params)

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        return await self._database.execute(sql, params)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        await self._database.execute_many(sql, rows)

    async def transaction(self, statements: Sequence[tuple[str, Sequence[Value]]]) -> list[int]:
        if self.failures:
            self.failures -= 1
            raise StorageError("down")
        return await self._database.transaction(statements)

    async def close(self) -> None:
        await self._database.close()


def write(runner: asyncio.Runner, ledger: Ledger, *records: RequestRecord) -> None:
    ledger.take(records)
    runner.run(ledger.commit())


def count(runner: asyncio.Runner, database: Database) -> int:
    return int(runner.run(database.fetch("SELECT COUNT(*) FROM requests"))[0][0] or 0)


def pages(runner: asyncio.Runner, ledger: Ledger, where: Filter, limit: int) -> list[Page]:
    found = [runner.run(ledger.page(where, limit=limit))]
    while found[-1].next is not None:
        found.append(runner.run(ledger.page(where, after=found[-1].next, limit=limit)))
    return found


def numbers(found: Sequence[Page]) -> list[int]:
    return [int(entry.id, 16) for page in found for entry in page.entries]


# --- writing ------------------------------------------------------------------------------------


def test_a_record_comes_back_whole(runner: asyncio.Runner, ledger: Ledger) -> None:
    defaults = {field.name: field.default for field in msgspec.structs.fields(RequestRecord)}
    full = full_record()
    assert all(getattr(full, name) != default for name, default in defaults.items()), "a field is not tested"

    write(runner, ledger, full, record(1))

    assert runner.run(ledger.get(full.id)) == full
    assert runner.run(ledger.get(record(1).id)) == record(1)


def test_what_is_not_there_is_not_found(runner: asyncio.Runner, ledger: Ledger) -> None:
    with pytest.raises(NotFound):
        runner.run(ledger.get("nobody"))


@pytest.mark.parametrize("size", [1, 7, 8, 9, 63, 64, 65, 511, 512, 513, 1607, 5000])
def test_any_number_of_records_is_written(
    runner: asyncio.Runner, ledger: Ledger, database: Database, size: int
) -> None:
    ledger.take(record(number) for number in range(size))
    assert ledger.backlog == size

    runner.run(ledger.commit())

    assert ledger.backlog == 0
    assert count(runner, database) == size
    assert runner.run(ledger.get(record(size - 1).id)) == record(size - 1)


def test_nothing_taken_is_nothing_written(runner: asyncio.Runner, ledger: Ledger, database: Database) -> None:
    runner.run(ledger.commit())
    assert count(runner, database) == 0


def test_records_stay_until_they_are_written(runner: asyncio.Runner, database: Database) -> None:
    flaky = Flaky(database)
    ledger = Ledger(flaky)
    ledger.take(record(number) for number in range(3000))
    flaky.failures = 1
    with pytest.raises(StorageError):
        runner.run(ledger.commit())
    assert ledger.backlog == 3000
    ledger.take([record(3000)])

    runner.run(ledger.commit())

    assert ledger.backlog == 0
    assert count(runner, database) == 3001


def test_a_batch_written_twice_is_there_once(
    runner: asyncio.Runner, ledger: Ledger, database: Database
) -> None:
    # As after a cancellation, when nobody knows whether the transaction was committed.
    write(runner, ledger, record(1), record(2))
    write(runner, ledger, record(1), record(2), record(3))
    assert count(runner, database) == 3


def test_a_row_the_database_refuses_costs_only_itself(
    runner: asyncio.Runner, ledger: Ledger, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    write(runner, ledger, record(1), record(2, duration_s=float("nan")), record(3))  # NaN is NULL in SQLite

    assert count(runner, database) == 2
    assert ledger.set_aside == 1
    assert ledger.backlog == 0
    assert record(2).id in caplog.text or [record(2).id] == vars(caplog.records[0])["records"]


def test_records_are_kept_when_the_table_itself_is_at_fault(
    runner: asyncio.Runner, ledger: Ledger, database: Database
) -> None:
    runner.run(database.execute("ALTER TABLE requests RENAME TO elsewhere"))
    ledger.take([record(1), record(2)])
    with pytest.raises(StatementRejected):
        runner.run(ledger.commit())
    assert ledger.backlog == 2

    runner.run(database.execute("ALTER TABLE elsewhere RENAME TO requests"))
    runner.run(ledger.commit())

    assert count(runner, database) == 2


def test_numbers_and_texts_no_column_holds_are_made_to_fit(runner: asyncio.Runner, ledger: Ledger) -> None:
    huge = Usage(input_tokens=2**70, output_tokens=2**64)
    write(
        runner,
        ledger,
        record(1, usage=huge, model="a\x00b\nc"),
        record(2, finish_reason="\ud800"),
        record(3, model="m" * 10_000),
    )

    page = runner.run(ledger.page(Filter()))

    assert [entry.model for entry in page.entries] == ["m" * 199 + "…", "small", "a?b?c"]
    assert page.entries[2].input_tokens == page.entries[2].output_tokens == 2**63 - 1
    restored = runner.run(ledger.get(record(2).id))
    assert restored.finish_reason == ""
    assert restored.bytes_in == record(2).bytes_in


# --- lists --------------------------------------------------------------------------------------


def test_pages_are_newest_first_and_end(runner: asyncio.Runner, ledger: Ledger) -> None:
    write(runner, ledger, *(record(number) for number in range(25)))

    found = pages(runner, ledger, Filter(), 10)

    assert [len(page.entries) for page in found] == [10, 10, 5]
    assert numbers(found) == list(range(24, -1, -1))


def test_requests_of_the_same_moment_are_each_listed_once(runner: asyncio.Runner, ledger: Ledger) -> None:
    write(runner, ledger, *(record(number, started_at=NOW) for number in range(20)))

    assert numbers(pages(runner, ledger, Filter(), 3)) == list(range(19, -1, -1))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (Filter(tenant="acme"), [5, 4, 3, 2, 1]),
        (Filter(tenant="other"), [0]),
        (Filter(key_id="key2"), [1]),
        (Filter(model="large"), [2]),
        (Filter(target="lab/b"), [3]),
        (Filter(endpoint="embeddings"), [4]),
        (Filter(outcome=Outcome.FAILED), [5]),
        (Filter(status=502), [5]),
        (Filter(tenant="acme", status=200, model="small"), [4, 3, 1]),
        (Filter(since=NOW + 2, until=NOW + 4), [3, 2]),
        (Filter(tenant="acme", since=NOW + 2, until=NOW + 4), [3, 2]),
        (Filter(until=NOW), []),
        (Filter(tenant="nobody"), []),
        (Filter(tenant="' OR 1=1 --"), []),
    ],
)
def test_lists_are_filtered(
    runner: asyncio.Runner, ledger: Ledger, where: Filter, expected: list[int]
) -> None:
    write(
        runner,
        ledger,
        record(0, tenant="other"),
        record(1, key_id="key2"),
        record(2, model="large"),
        record(3, target="lab/b"),
        record(4, endpoint="embeddings"),
        record(5, outcome=Outcome.FAILED, status=502),
    )

    assert numbers(pages(runner, ledger, where, 50)) == expected
    assert numbers(pages(runner, ledger, where, 1)) == expected


def test_a_search_looks_at_a_bounded_number_of_rows_at_a_time(
    runner: asyncio.Runner, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "_SCAN_ROWS", 10)
    monkeypatch.setattr(db, "_SCANS", 3)
    write(
        runner,
        ledger,
        *(
            record(number, model="rare" if number in (2, 90) else "small", started_at=NOW + number // 2)
            for number in range(100)
        ),
    )

    found = pages(runner, ledger, Filter(model="rare"), 5)

    assert numbers(found) == [90, 2]
    assert len(found) == 4
    assert [len(page.entries) for page in found] == [1, 0, 0, 1]


def test_many_requests_of_one_moment_do_not_stop_a_search(
    runner: asyncio.Runner, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "_SCAN_ROWS", 3)
    write(
        runner,
        ledger,
        *(
            record(number, started_at=NOW, model="rare" if number % 4 == 0 else "small")
            for number in range(20)
        ),
        record(20, started_at=NOW - 1, model="rare"),
    )

    assert numbers(pages(runner, ledger, Filter(model="rare"), 2)) == [16, 12, 8, 4, 0, 20]


@pytest.mark.parametrize("after", ["", "x_y", "_", "1.0.0_a"])
def test_a_position_that_no_page_returned_is_refused(
    runner: asyncio.Runner, ledger: Ledger, after: str
) -> None:
    with pytest.raises(InvalidRequest):
        runner.run(ledger.page(Filter(), after=after))


# --- usage --------------------------------------------------------------------------------------


def test_usage_is_added_up_by_group(runner: asyncio.Runner, ledger: Ledger) -> None:
    write(
        runner,
        ledger,
        record(0, first_token_s=0.2),
        record(1, first_token_s=0.4, cost_microusd=1_500_000),
        record(2, outcome=Outcome.FAILED, usage=Usage(), cost_microusd=3),
        record(3, outcome=Outcome.CUT),
        record(4, outcome=Outcome.REFUSED),
        record(5, outcome=Outcome.UPSTREAM_REFUSED),
        record(6, outcome=Outcome.CLIENT_GONE),
        record(7, model="large", started_at=NOW + 20_000),
        record(8, usage=Usage(), cache="hit", saved_tokens=15, saved_microusd=40),
        record(9, usage=Usage(), cache="stale", saved_tokens=3, saved_microusd=None),
        record(10, usage=Usage(), cache="miss"),
    )

    large, small = runner.run(ledger.usage("model"))

    assert (large.name, large.requests, large.first_token_mean_s) == ("large", 1, None)
    assert small == db.Sum(
        name="small",
        requests=10,
        failed=2,
        refused=2,
        client_gone=1,
        input_tokens=60,
        output_tokens=30,
        first_tokens=2,
        first_token_sum_s=pytest.approx(0.6),
        cost_microusd=1_500_003,
        unpriced=5,
        cache_hits=2,
        saved_tokens=15 + 3,
        saved_microusd=40,
    )
    assert small.first_token_mean_s == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("by", "expected"),
    [("key", "key1"), ("tenant", "acme"), ("target", "lab/small-1"), ("day", "2023-11-14")],
)
def test_usage_is_grouped_by_what_was_asked(
    runner: asyncio.Runner, ledger: Ledger, by: db.By, expected: str
) -> None:
    write(runner, ledger, record())
    assert [(one.name, one.requests) for one in runner.run(ledger.usage(by))] == [(expected, 1)]


def test_days_end_at_midnight_utc(runner: asyncio.Runner, ledger: Ledger) -> None:
    midnight = 1_700_006_400.0
    write(
        runner,
        ledger,
        record(0, started_at=midnight - 0.001),
        record(1, started_at=midnight),
        record(2, started_at=midnight + 2 * DAY),
    )

    assert [(one.name, one.requests) for one in runner.run(ledger.usage("day"))] == [
        ("2023-11-14", 1),
        ("2023-11-15", 1),
        ("2023-11-17", 1),
    ]


def test_usage_has_a_beginning_and_an_end(runner: asyncio.Runner, ledger: Ledger) -> None:
    write(runner, ledger, *(record(number) for number in range(10)))

    assert runner.run(ledger.usage("model", since=NOW + 2, until=NOW + 5))[0].requests == 3
    assert runner.run(ledger.usage("model", since=NOW + 2))[0].requests == 8
    assert runner.run(ledger.usage("model", since=NOW + 20)) == []


def test_an_empty_ledger_has_no_usage(runner: asyncio.Runner, ledger: Ledger) -> None:
    assert runner.run(ledger.usage("model")) == []


# --- forgetting ---------------------------------------------------------------------------------


def test_only_what_is_older_is_deleted(
    runner: asyncio.Runner, ledger: Ledger, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "_EXPIRE_ROWS", 10)
    write(runner, ledger, *(record(number) for number in range(35)))

    assert runner.run(ledger.expire(NOW + 30, pause_s=0.0)) == 30
    assert runner.run(ledger.expire(NOW + 30, pause_s=0.0)) == 0

    assert numbers(pages(runner, ledger, Filter(), 50)) == [34, 33, 32, 31, 30]


class Watched(Flaky):
    """A database that remembers what it was asked."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.asked: list[tuple[str, Sequence[Value]]] = []

    async def fetch(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        self.asked.append((sql, params))
        return await super().fetch(sql, params)

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        self.asked.append((sql, params))
        return await super().execute(sql, params)


def test_no_query_reads_the_whole_table(runner: asyncio.Runner, database: Database) -> None:
    watched = Watched(database)
    ledger = Ledger(watched)
    write(runner, ledger, record(0))
    runner.run(ledger.get(record(0).id))
    runner.run(ledger.page(Filter()))
    runner.run(ledger.page(Filter(tenant="acme"), after=f"{NOW + 5}_x"))
    runner.run(ledger.page(Filter(tenant="acme"), after=f"{NOW + 5}_"))
    runner.run(ledger.usage("model"))
    runner.run(ledger.usage("day"))
    runner.run(ledger.expire(NOW))
    assert len(watched.asked) >= 10

    for sql, params in watched.asked:
        plan = [str(row[3]) for row in runner.run(database.fetch(f"EXPLAIN QUERY PLAN {sql}", params))]
        assert not any(step.startswith("SCAN requests") and "INDEX" not in step for step in plan), (sql, plan)


def test_usage_is_of_some_tenants_when_asked(runner: asyncio.Runner, ledger: Ledger) -> None:
    ledger.take(record(number, tenant=tenant) for number, tenant in enumerate(["acme", "search", "other"]))
    runner.run(ledger.commit())

    def names(*tenants: str) -> list[str]:
        return [one.name for one in runner.run(ledger.usage("tenant", tenants=tenants))]

    assert names("acme", "search", "nobody") == ["acme", "search"]
    assert names("nobody") == []
    assert [one.requests for one in runner.run(ledger.usage("day", tenants=("other",)))] == [1]
