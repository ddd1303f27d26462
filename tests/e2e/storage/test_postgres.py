"""`Database` on a real Postgres: starting together, outages, time-outs, and what a message may say."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
from tests.e2e.postgres_server import PASSWORD, PostgresProcess, start_postgres
from tests.e2e.redis_server import free_port

from fairlead.errors import ConfigError, StorageError, StorageUnusable
from fairlead.storage.connect import open_database, open_existing
from fairlead.storage.migrate import migrations
from fairlead.storage.postgres import PostgresDatabase

T = TypeVar("T")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresProcess]:
    with start_postgres() as process:
        yield process


@pytest.fixture(scope="module")
def names() -> Callable[[], str]:
    numbers = itertools.count()
    return lambda: f"test{next(numbers)}"


@pytest.fixture
def url(server: PostgresProcess, names: Callable[[], str]) -> str:
    """An empty database."""
    return server.database(names())


def run(main: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(main)


async def eventually(call: Callable[[], Coroutine[Any, Any, T]], timeout_s: float = 20.0) -> T:
    """The result of a call that is made until it does not fail with a StorageError."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return await call()
        except StorageError as error:
            if not error.retryable or time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.05)


def test_many_gateways_may_start_at_once(url: str, server: PostgresProcess) -> None:
    async def scenario() -> list[tuple[object, ...]]:
        opened = await asyncio.gather(*(open_database(url, connections=2) for _ in range(8)))
        applied = await opened[0].fetch("SELECT version FROM schema_migrations ORDER BY version")
        await asyncio.gather(*(database.close() for database in opened))
        return applied

    assert [row[0] for row in run(scenario())] == [step.version for step in migrations()]


def test_what_is_there_is_opened_without_a_change(url: str) -> None:
    async def scenario() -> tuple[bool, list[tuple[object, ...]]]:
        before = await open_existing(url)
        await (await open_database(url)).close()
        after = await open_existing(url)
        assert after is not None
        rows = await after.fetch("SELECT revision FROM api_key_revision")
        await after.close()
        return before is None, rows

    assert run(scenario()) == (True, [(0,)])


def test_a_lost_idle_connection_is_replaced_unseen(url: str, server: PostgresProcess) -> None:
    async def scenario() -> None:
        database = await open_database(url)
        await database.fetch("SELECT 1")
        await database.execute("CREATE TABLE t (n BIGINT)")
        await asyncio.to_thread(
            server.psql,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fairlead'",
        )
        await asyncio.sleep(0.1)

        assert await database.execute("INSERT INTO t VALUES (1)") == 1
        assert await database.fetch("SELECT n FROM t") == [(1,)]
        await database.close()

    run(scenario())


def test_a_read_that_loses_its_connection_is_made_again(url: str, server: PostgresProcess) -> None:
    async def scenario() -> None:
        database = await open_database(url)
        reading = asyncio.create_task(database.fetch("SELECT 7 FROM pg_sleep(1)"))
        await asyncio.sleep(0.4)
        await asyncio.to_thread(
            server.psql,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE query LIKE '%pg_sleep(1)%' AND application_name = 'fairlead'",
        )

        assert await reading == [(7,)]
        await database.close()

    run(scenario())


@pytest.mark.parametrize("end", ["stop", "crash"])
def test_an_outage_fails_calls_at_once_and_ends_by_itself(
    url: str, server: PostgresProcess, end: str
) -> None:
    async def scenario() -> None:
        database = await open_database(url)
        await database.execute("CREATE TABLE t (n BIGINT)")
        await asyncio.to_thread(getattr(server, end))
        for _ in range(2):
            for call in (database.fetch("SELECT n FROM t"), database.execute("INSERT INTO t VALUES (1)")):
                began = time.monotonic()
                with pytest.raises(StorageError) as caught:
                    await call
                assert caught.value.retryable
                assert time.monotonic() - began < 2.0
        await asyncio.to_thread(server.start)

        assert await eventually(lambda: database.execute("INSERT INTO t VALUES (2)")) == 1
        assert await eventually(lambda: database.fetch("SELECT n FROM t")) == [(2,)]
        await database.close()

    run(scenario())


def test_a_slow_statement_is_given_up_on_both_sides(url: str, server: PostgresProcess) -> None:
    async def scenario() -> None:
        database = await open_database(url, timeout_s=0.5)
        for call in (database.fetch, database.execute):
            began = time.monotonic()
            with pytest.raises(StorageError) as caught:
                await call("SELECT pg_sleep(30)")
            assert caught.value.retryable
            assert time.monotonic() - began < 5.0
        assert await database.fetch("SELECT 1") == [(1,)]
        await database.close()
        running = (
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%' AND state = 'active'"
        )
        deadline = time.monotonic() + 5
        while await asyncio.to_thread(server.psql, running + " AND pid <> pg_backend_pid()") != "0":
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)

    run(scenario())


def test_a_callers_end_does_not_break_a_write(url: str) -> None:
    async def scenario() -> None:
        database = await open_database(url, connections=2)
        await database.execute("CREATE TABLE t (n BIGINT)")
        for number in range(20):
            write = asyncio.create_task(database.execute("INSERT INTO t VALUES (?)", (number,)))
            await asyncio.sleep(0)
            write.cancel()
            await asyncio.wait([write])
        await database.execute("INSERT INTO t VALUES (99)")
        await database.close()
        again = await open_database(url)
        assert await again.fetch("SELECT count(*) FROM t") == [(21,)]
        await again.close()

    run(scenario())


def test_numbers_of_any_type_are_numbers(url: str) -> None:
    async def scenario() -> list[tuple[object, ...]]:
        database = await open_database(url)
        rows = await database.fetch(
            "SELECT SUM(n), AVG(n), 1.5::numeric, 2::smallint FROM (VALUES (1::bigint), (2)) t (n)"
        )
        await database.close()
        return rows

    assert run(scenario()) == [(3, 1.5, 1.5, 2)]


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (lambda url: url.replace("s3cret", "other"), StorageUnusable, "refused the password"),
        (lambda url: url + "_not_there", StorageUnusable, "no such database"),
        (lambda url: url.replace("fairlead:", "nobody:"), StorageUnusable, "refused"),
        (
            lambda url: f"postgresql://u:{PASSWORD[:6]}@127.0.0.1:{free_port()}/x",
            StorageError,
            "cannot be reached",
        ),
        (lambda url: "postgresql://u:s3cret@[half/x", ConfigError, "cannot be understood"),
        (lambda url: "postgresql://u:s3cret@h:port/x", ConfigError, "cannot be understood"),
        (lambda url: "postgresql://u:s3cret/1@h/x", ConfigError, "cannot be understood"),
        (lambda url: "postgresql://u:12/s3cret@h/x", ConfigError, "cannot be understood"),
        (lambda url: "postgresql://u:s3cret@127.0.0.1:1,127.0.0.1:2/x", StorageError, "cannot be reached"),
        (lambda url: "postgresql:///x?host=/nowhere&password=s3cret", StorageError, "cannot be reached"),
        (lambda url: url + "?sslmode=s3cret", ConfigError, "cannot be understood"),
    ],
)
def test_what_keeps_it_from_opening_is_said_without_the_password(
    url: str, change: Callable[[str], str], kind: type[StorageError], says: str
) -> None:
    with pytest.raises(kind, match=says) as caught:
        run(open_database(change(url)))

    said: BaseException | None = caught.value
    while said is not None:
        assert "s3cret" not in f"{said} {getattr(said, 'hint', '')}"
        said = said.__cause__


def test_a_database_of_another_encoding_is_refused(server: PostgresProcess, names: Callable[[], str]) -> None:
    name = names()
    server.psql(f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")

    with pytest.raises(StorageUnusable, match="LATIN1"):
        run(open_database(server.url_of(name)))


def test_a_user_that_may_not_make_tables_is_told_so(url: str, server: PostgresProcess) -> None:
    server.psql("CREATE ROLE guest LOGIN PASSWORD 'guest'")

    with pytest.raises(StorageUnusable, match="does not let this user"):
        run(open_database(url.replace(url[len("postgresql://") : url.index("@")], "guest:guest")))


def test_a_server_that_only_reads_is_told_from_a_query_that_writes(url: str, server: PostgresProcess) -> None:
    async def scenario() -> None:
        database = await PostgresDatabase.open(url)
        await database.execute("CREATE TABLE t (n BIGINT)")
        await database.execute("SET default_transaction_read_only = on")
        with pytest.raises(StorageError, match="is read-only") as caught:
            await database.execute("INSERT INTO t VALUES (1)")
        assert caught.value.retryable
        assert await eventually(lambda: database.execute("INSERT INTO t VALUES (1)")) == 1
        await database.close()

    run(scenario())
