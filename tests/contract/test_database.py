"""What every `storage.ports.Database` does. A backend joins by a line in `BACKENDS`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.e2e.postgres_server import PostgresProcess, start_postgres

from fairlead.errors import StatementRejected, StorageError
from fairlead.net.run import Run
from fairlead.storage.ports import Database
from fairlead.storage.postgres import PostgresDatabase
from fairlead.storage.sqlite import SqliteDatabase

BACKENDS: dict[str, Callable[[Path, Callable[[], str]], Awaitable[Database]]] = {
    "sqlite-file": lambda directory, _: SqliteDatabase.open(directory / "state" / "test.db"),
    "sqlite-memory": lambda _, __: SqliteDatabase.open(None),
    "postgres": lambda _, url: PostgresDatabase.open(url()),
}


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresProcess]:
    with start_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def fresh(request: pytest.FixtureRequest) -> Callable[[], str]:
    """The URL of an empty Postgres database. Nothing is started for who does not ask."""
    names = itertools.count()
    return lambda: request.getfixturevalue("postgres").database(f"test{next(names)}")


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(params=list(BACKENDS))
def database(
    request: pytest.FixtureRequest, tmp_path: Path, runner: asyncio.Runner, fresh: Callable[[], str]
) -> Iterator[Database]:
    async def start() -> Database:
        database = await BACKENDS[request.param](tmp_path, fresh)
        await database.execute(
            "CREATE TABLE things (id BIGINT PRIMARY KEY, name TEXT UNIQUE, size DOUBLE PRECISION)"
        )
        return database

    database = runner.run(start())
    yield database
    runner.run(database.close())


def test_rows_come_back_as_they_went_in(database: Database, runner: asyncio.Runner) -> None:
    changed = runner.run(
        database.execute("INSERT INTO things VALUES (?, ?, ?)", (2**53 + 1, "a'ß\u2028;", 1.5))
    )

    assert changed == 1
    assert runner.run(database.fetch("SELECT id, name, size FROM things")) == [(2**53 + 1, "a'ß\u2028;", 1.5)]


def test_null_is_none(database: Database, runner: asyncio.Runner) -> None:
    runner.run(database.execute("INSERT INTO things VALUES (?, ?, ?)", (1, None, None)))

    assert runner.run(database.fetch("SELECT name, size FROM things")) == [(None, None)]


def test_a_query_without_rows_is_an_empty_list(database: Database, runner: asyncio.Runner) -> None:
    assert runner.run(database.fetch("SELECT id FROM things WHERE name = ?", ("x",))) == []


def test_execute_counts_the_rows_it_changed(database: Database, runner: asyncio.Runner) -> None:
    runner.run(
        database.execute_many("INSERT INTO things VALUES (?, ?, ?)", [(n, str(n), 0.0) for n in range(5)])
    )

    assert runner.run(database.execute("UPDATE things SET size = 1 WHERE id < ?", (3,))) == 3
    assert runner.run(database.execute("DELETE FROM things WHERE id > ?", (100,))) == 0


def test_execute_many_is_all_or_none(database: Database, runner: asyncio.Runner) -> None:
    with pytest.raises(StatementRejected):
        runner.run(
            database.execute_many("INSERT INTO things VALUES (?, ?, ?)", [(1, "a", 0.0), (2, "a", 0.0)])
        )

    assert runner.run(database.fetch("SELECT count(*) FROM things")) == [(0,)]


def test_execute_many_of_nothing_does_nothing(database: Database, runner: asyncio.Runner) -> None:
    runner.run(database.execute_many("INSERT INTO things VALUES (?, ?, ?)", []))

    assert runner.run(database.fetch("SELECT count(*) FROM things")) == [(0,)]


def test_a_transaction_counts_each_statement_and_sees_its_own_work(
    database: Database, runner: asyncio.Runner
) -> None:
    counts = runner.run(
        database.transaction(
            [
                ("INSERT INTO things VALUES (?, ?, ?)", (1, "a", 0.0)),
                ("INSERT INTO things SELECT id + 1, 'b', size FROM things WHERE id = ?", (1,)),
                ("UPDATE things SET size = ?", (7.0,)),
            ]
        )
    )

    assert counts == [1, 1, 2]


def test_a_failed_transaction_leaves_nothing_and_the_next_one_works(
    database: Database, runner: asyncio.Runner
) -> None:
    insert = "INSERT INTO things VALUES (?, ?, ?)"
    with pytest.raises(StatementRejected):
        runner.run(database.transaction([(insert, (1, "a", 0.0)), (insert, (1, "b", 0.0))]))

    assert runner.run(database.fetch("SELECT count(*) FROM things")) == [(0,)]
    assert runner.run(database.transaction([(insert, (1, "a", 0.0))])) == [1]


def test_schema_changes_are_part_of_a_transaction(database: Database, runner: asyncio.Runner) -> None:
    with pytest.raises(StatementRejected):
        runner.run(
            database.transaction(
                [("CREATE TABLE more (id INTEGER PRIMARY KEY)", ()), ("SELECT nonsense", ())]
            )
        )

    with pytest.raises(StatementRejected):
        runner.run(database.fetch("SELECT id FROM more"))


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("SELEC 1", ()),
        ("SELECT id FROM nowhere", ()),
        ("SELECT id FROM things WHERE id = ?", ()),
        ("SELECT id FROM things", (1,)),
        ("SELECT id FROM things; SELECT 2", ()),
        ("SELECT id FROM things WHERE id = ?", (2**80,)),
        ("SELECT id FROM things WHERE name = ?", ("\ud800",)),
    ],
)
def test_a_wrong_statement_is_rejected_and_not_worth_a_retry(
    database: Database, runner: asyncio.Runner, sql: str, params: tuple[int | str, ...]
) -> None:
    for call in (database.fetch, database.execute):
        with pytest.raises(StatementRejected) as caught:
            runner.run(call(sql, params))
        assert not caught.value.retryable


def test_fetch_does_not_write(database: Database, runner: asyncio.Runner) -> None:
    with pytest.raises(StatementRejected, match="execute"):
        runner.run(database.fetch("INSERT INTO things VALUES (1, 'a', 0) RETURNING id"))

    assert runner.run(database.fetch("SELECT count(*) FROM things")) == [(0,)]
    assert runner.run(database.execute("INSERT INTO things VALUES (1, 'a', 0)")) == 1


def test_many_callers_at_once_each_get_their_own_answer(database: Database, runner: asyncio.Runner) -> None:
    async def scenario() -> list[int]:
        async def one(number: int) -> int:
            await database.execute("INSERT INTO things VALUES (?, ?, ?)", (number, str(number), 0.0))
            ((found,),) = await database.fetch("SELECT id FROM things WHERE name = ?", (str(number),))
            assert isinstance(found, int)
            return found

        return await asyncio.gather(*(one(number) for number in range(40)))

    assert runner.run(scenario()) == list(range(40))


def test_a_run_without_a_task_can_await_it(database: Database, runner: asyncio.Runner) -> None:
    async def scenario() -> list[object]:
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        seen: list[object] = []

        async def work() -> None:
            seen.append(await database.execute("INSERT INTO things VALUES (1, 'a', 0)"))
            seen.append(await database.fetch("SELECT name FROM things"))

        def done(_: Run, error: BaseException | None) -> None:
            seen.append(error)
            ended.set_result(None)

        Run(work(), done).start()
        await ended
        return seen

    assert runner.run(scenario()) == [1, [("a",)], None]


def test_close_finishes_what_is_under_way_and_then_refuses(
    database: Database, runner: asyncio.Runner
) -> None:
    async def scenario() -> int:
        write = asyncio.ensure_future(database.execute("INSERT INTO things VALUES (1, 'a', 0)"))
        await asyncio.sleep(0)
        await database.close()
        return await write

    assert runner.run(scenario()) == 1
    with pytest.raises(StorageError, match="closed"):
        runner.run(database.fetch("SELECT 1"))
    runner.run(database.close())
