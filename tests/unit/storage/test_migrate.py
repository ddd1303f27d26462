"""Migrations: what is applied, when, once, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import StatementRejected, StorageUnusable
from fairlead.storage.migrate import migrate, migration, migrations, split
from fairlead.storage.sqlite import SqliteDatabase

FIRST = migration(1, "first", b"CREATE TABLE a (n INTEGER); INSERT INTO a VALUES (1);")
SECOND = migration(2, "second", b"-- more; of it\nINSERT INTO a VALUES (2);")
NAME = "/srv/fairlead.db"


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def database(runner: asyncio.Runner) -> Iterator[SqliteDatabase]:
    database = runner.run(SqliteDatabase.open(None))
    yield database
    runner.run(database.close())


def test_what_is_missing_is_applied_in_order_and_once(
    database: SqliteDatabase, runner: asyncio.Runner
) -> None:
    assert runner.run(migrate(database, [FIRST], now=1.0, name=NAME)) == 1
    assert runner.run(migrate(database, [FIRST, SECOND], now=2.0, name=NAME)) == 1
    assert runner.run(migrate(database, [FIRST, SECOND], now=3.0, name=NAME)) == 0

    assert runner.run(database.fetch("SELECT n FROM a ORDER BY n")) == [(1,), (2,)]
    assert runner.run(
        database.fetch("SELECT version, name, digest, applied_at FROM schema_migrations ORDER BY version")
    ) == [(1, "first", FIRST.digest, 1.0), (2, "second", SECOND.digest, 2.0)]


def test_a_lower_number_that_arrived_later_is_applied_too(
    database: SqliteDatabase, runner: asyncio.Runner
) -> None:
    third = migration(3, "third", b"CREATE TABLE c (n INTEGER)")
    runner.run(migrate(database, [FIRST, third], now=1.0, name=NAME))

    assert runner.run(migrate(database, [FIRST, SECOND, third], now=1.0, name=NAME)) == 1


def test_several_at_once_apply_each_migration_once(database: SqliteDatabase, runner: asyncio.Runner) -> None:
    async def scenario() -> list[int]:
        return await asyncio.gather(
            *(migrate(database, [FIRST, SECOND], now=1.0, name=NAME) for _ in range(8))
        )

    assert sum(runner.run(scenario())) == 2
    assert runner.run(database.fetch("SELECT count(*) FROM a")) == [(2,)]


def test_a_newer_schema_is_refused_by_name(database: SqliteDatabase, runner: asyncio.Runner) -> None:
    runner.run(migrate(database, [FIRST, SECOND], now=1.0, name=NAME))

    with pytest.raises(
        StorageUnusable, match=r"/srv/fairlead\.db has schema 0002_second.*up to 0001"
    ) as caught:
        runner.run(migrate(database, [FIRST], now=2.0, name=NAME))

    assert not caught.value.retryable
    assert "newer Fairlead" in (caught.value.hint or "")


def test_an_edited_migration_is_refused(database: SqliteDatabase, runner: asyncio.Runner) -> None:
    runner.run(migrate(database, [FIRST], now=1.0, name=NAME))
    edited = migration(1, "first", b"CREATE TABLE a (n BIGINT)")

    with pytest.raises(StorageUnusable, match="another edition of schema 0001_first"):
        runner.run(migrate(database, [edited], now=2.0, name=NAME))


def test_a_failing_migration_leaves_no_trace_and_those_before_it_stay(
    database: SqliteDatabase, runner: asyncio.Runner
) -> None:
    broken = migration(2, "broken", b"CREATE TABLE b (n INTEGER); INSERT INTO nowhere VALUES (1);")

    with pytest.raises(StatementRejected):
        runner.run(migrate(database, [FIRST, broken], now=1.0, name=NAME))

    assert runner.run(database.fetch("SELECT version FROM schema_migrations")) == [(1,)]
    with pytest.raises(StatementRejected):
        runner.run(database.fetch("SELECT n FROM b"))
    assert runner.run(migrate(database, [FIRST, SECOND], now=2.0, name=NAME)) == 1


def test_the_shipped_migrations_are_numbered_once_and_apply(
    database: SqliteDatabase, runner: asyncio.Runner
) -> None:
    shipped = migrations()

    assert [step.name for step in shipped if step.version == 1] == ["keys"]
    assert [step.version for step in shipped] == sorted({step.version for step in shipped})
    assert all(step.statements for step in shipped)
    assert runner.run(migrate(database, shipped, now=1.0, name=NAME)) == len(shipped)
    assert runner.run(database.fetch("SELECT revision FROM api_key_revision")) == [(0,)]


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        ("", []),
        (" ;; \n", []),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1;SELECT 2 ;", ["SELECT 1", "SELECT 2"]),
        ("-- a; b\nSELECT 1 -- c; d\n;", ["SELECT 1"]),
        ("/* a; 'b */ SELECT 1 /* ; */;", ["SELECT 1"]),
        ("SELECT ';', 'it''s; -- no comment', \"a;b\";", ["SELECT ';', 'it''s; -- no comment', \"a;b\""]),
        ("SELECT 4 - 2, 4 / 2;", ["SELECT 4 - 2, 4 / 2"]),
    ],
)
def test_scripts_are_split_at_semicolons_outside_quotes_and_comments(
    script: str, statements: list[str]
) -> None:
    assert split(script) == statements


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_quoted_text_survives_splitting(texts: list[str]) -> None:
    statements = ["SELECT '" + text.replace("'", "''") + "'" for text in texts]

    assert split(";\n".join(statements)) == statements
