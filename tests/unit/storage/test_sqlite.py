"""What is particular to SQLite: the file, its neighbours, and what its failures mean."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.errors import StatementRejected, StorageDamaged, StorageError, StorageUnusable
from fairlead.storage.sqlite import SqliteDatabase, translate


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def database(tmp_path: Path, runner: asyncio.Runner) -> Iterator[SqliteDatabase]:
    database = runner.run(SqliteDatabase.open(tmp_path / "state" / "test.db", busy_timeout_s=0.05))
    runner.run(database.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, data TEXT)"))
    yield database
    runner.run(database.close())


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_user_may_read_what_it_creates(database: SqliteDatabase, tmp_path: Path) -> None:
    assert _mode(tmp_path / "state") == 0o700
    files = sorted((tmp_path / "state").iterdir())
    assert [file.name for file in files] == ["test.db", "test.db-shm", "test.db-wal"]
    assert [_mode(file) for file in files] == [0o600] * 3


def test_it_writes_ahead_and_checks_foreign_keys(database: SqliteDatabase, runner: asyncio.Runner) -> None:
    assert runner.run(database.fetch("PRAGMA journal_mode")) == [("wal",)]
    assert runner.run(database.fetch("PRAGMA foreign_keys")) == [(1,)]
    runner.run(database.execute("CREATE TABLE parts (thing INTEGER REFERENCES things (id))"))
    with pytest.raises(StatementRejected):
        runner.run(database.execute("INSERT INTO parts VALUES (7)"))


def test_the_file_survives_its_process_and_holds_its_rows(tmp_path: Path, runner: asyncio.Runner) -> None:
    path = tmp_path / "a.db"

    async def scenario() -> object:
        first = await SqliteDatabase.open(path, durable=True)
        await first.transaction([("CREATE TABLE t (n INTEGER)", ()), ("INSERT INTO t VALUES (4)", ())])
        await first.close()
        second = await SqliteDatabase.open(path)
        try:
            return await second.fetch("SELECT n FROM t")
        finally:
            await second.close()

    assert runner.run(scenario()) == [(4,)]


def test_a_write_lock_held_elsewhere_is_waited_for_and_then_reported(
    database: SqliteDatabase, runner: asyncio.Runner
) -> None:
    other = sqlite3.connect(database.name, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StorageError, match="locked by another process") as caught:
            runner.run(database.execute("INSERT INTO things VALUES (1, 'a')"))
    finally:
        other.execute("ROLLBACK")
        other.close()

    assert caught.value.retryable
    assert database.name in caught.value.message
    assert caught.value.hint
    assert runner.run(database.execute("INSERT INTO things VALUES (1, 'a')")) == 1


def test_reads_go_on_while_another_process_writes(database: SqliteDatabase, runner: asyncio.Runner) -> None:
    runner.run(database.execute("INSERT INTO things VALUES (1, 'a')"))
    other = sqlite3.connect(database.name, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO things VALUES (2, 'b')")
    try:
        assert runner.run(database.fetch("SELECT id FROM things")) == [(1,)]
        other.execute("COMMIT")
    finally:
        other.close()
    assert runner.run(database.fetch("SELECT id FROM things")) == [(1,), (2,)]


def test_a_read_waits_neither_for_a_queued_write_nor_for_a_slow_read(
    database: SqliteDatabase, runner: asyncio.Runner
) -> None:
    """The writer is stuck behind a lock and a reader is busy until the quick read has come back."""

    async def scenario() -> object:
        loop = asyncio.get_running_loop()
        release = threading.Event()
        slow = loop.run_in_executor(database._read_pool, release.wait)
        stuck = loop.run_in_executor(database._write_pool, release.wait)
        try:
            async with asyncio.timeout(10):
                return await database.fetch("SELECT count(*) FROM things")
        finally:
            release.set()
            await asyncio.gather(slow, stuck)

    assert runner.run(scenario()) == [(0,)]


def test_a_full_disk_is_reported_and_the_transaction_undone(
    database: SqliteDatabase, runner: asyncio.Runner
) -> None:
    runner.run(database.execute("PRAGMA max_page_count = 8"))

    with pytest.raises(StorageError, match="disk is full") as caught:
        runner.run(
            database.execute_many("INSERT INTO things VALUES (?, ?)", [(n, "x" * 4000) for n in range(20)])
        )

    assert caught.value.retryable
    assert runner.run(database.fetch("SELECT count(*) FROM things")) == [(0,)]
    assert runner.run(database.execute("INSERT INTO things VALUES (1, 'small')")) == 1


def test_a_file_that_is_no_database_is_refused(tmp_path: Path, runner: asyncio.Runner) -> None:
    path = tmp_path / "notes.db"
    path.write_text("Not a database, whatever its name says. " * 50)

    with pytest.raises(StorageUnusable, match="not a SQLite database") as caught:
        runner.run(SqliteDatabase.open(path))

    assert str(path) in caught.value.message
    assert not caught.value.retryable
    assert path.read_text().startswith("Not a database")


def test_a_damaged_file_is_reported(tmp_path: Path, runner: asyncio.Runner) -> None:
    path = tmp_path / "a.db"

    async def make() -> None:
        database = await SqliteDatabase.open(path)
        await database.execute("CREATE TABLE t (data TEXT)")
        await database.execute_many("INSERT INTO t VALUES (?)", [("x" * 3000,)] * 50)
        await database.close()

    async def read() -> None:
        database = await SqliteDatabase.open(path)
        try:
            await database.fetch("SELECT data FROM t")
        finally:
            await database.close()

    runner.run(make())
    content = bytearray(path.read_bytes())
    content[4096:20480] = b"\xff" * 16384
    path.write_bytes(content)

    with pytest.raises(StorageUnusable, match="damaged"):
        runner.run(read())


def test_a_directory_that_cannot_be_made_is_reported(tmp_path: Path, runner: asyncio.Runner) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageUnusable, match="cannot be created or opened") as caught:
        runner.run(SqliteDatabase.open(tmp_path / "file" / "test.db"))

    assert caught.value.hint


def test_a_file_that_may_only_be_read_is_reported(tmp_path: Path) -> None:
    """By SQLite's own error: file permissions do not bind the superuser that may run this."""
    path = tmp_path / "a.db"
    sqlite3.connect(path).execute("CREATE TABLE t (n INTEGER)").connection.close()
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)

    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("INSERT INTO t VALUES (1)")
    connection.close()

    error = translate(caught.value, str(path))
    assert isinstance(error, StorageUnusable)
    assert "read-only" in error.message


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_BUSY, StorageError),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StorageError),
        (sqlite3.SQLITE_IOERR_FSYNC, StorageError),
        (sqlite3.SQLITE_CORRUPT_INDEX, StorageDamaged),
        (sqlite3.SQLITE_CANTOPEN_ISDIR, StorageUnusable),
        (sqlite3.SQLITE_READONLY_DIRECTORY, StorageUnusable),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, StatementRejected),
        (sqlite3.SQLITE_MISUSE, StatementRejected),
    ],
)
def test_errors_are_told_apart_by_code_and_never_by_text(code: int, kind: type[StorageError]) -> None:
    error = sqlite3.OperationalError("database is locked, full, corrupt and readonly")
    error.sqlite_errorcode = code

    assert type(translate(error, "x.db")) is kind


def test_an_error_of_pythons_module_has_no_code_and_is_a_rejected_statement() -> None:
    assert type(translate(sqlite3.ProgrammingError("wrong number of bindings"), "x.db")) is StatementRejected


def test_a_write_cancelled_before_its_turn_is_not_made(
    database: SqliteDatabase, runner: asyncio.Runner
) -> None:
    async def scenario() -> object:
        turn, begun = threading.Event(), threading.Event()

        def hold() -> None:
            begun.set()
            turn.wait()

        loop = asyncio.get_running_loop()
        holding = loop.run_in_executor(database._write_pool, hold)
        await asyncio.to_thread(begun.wait)
        waiting = asyncio.ensure_future(database.execute("INSERT INTO things VALUES (1, 'a')"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        turn.set()
        await holding
        return await database.fetch("SELECT count(*) FROM things")

    assert runner.run(scenario()) == [(0,)]


def test_text_that_is_not_utf8_is_a_rejected_statement(
    database: SqliteDatabase, runner: asyncio.Runner
) -> None:
    """Python's module raises the same exception as for SQLite's errors, without a result code."""
    with pytest.raises(StatementRejected, match="UTF-8"):
        runner.run(database.fetch("SELECT CAST(x'c3ff' AS TEXT)"))


def test_unused_space_goes_back_to_the_file_system_step_by_step(
    database: SqliteDatabase, runner: asyncio.Runner, tmp_path: Path
) -> None:
    rows = [(number, "x" * 2000) for number in range(6000)]
    runner.run(database.execute_many("INSERT INTO things VALUES (?, ?)", rows))
    assert runner.run(database.trim()) == 0, "all of it is used"
    runner.run(database.execute("DELETE FROM things WHERE id > 10"))
    runner.run(database.execute("PRAGMA wal_checkpoint"))
    before = (tmp_path / "state" / "test.db").stat().st_size

    steps = []
    while given_back := runner.run(database.trim()):
        steps.append(given_back)
    runner.run(database.execute("PRAGMA wal_checkpoint"))

    after = (tmp_path / "state" / "test.db").stat().st_size
    assert len(steps) > 1
    assert max(steps) <= 4 * 1024 * 1024
    assert before - after >= sum(steps), "with the pages that kept account of them"
    assert after < before / 10
    assert runner.run(database.fetch("SELECT count(*) FROM things")) == [(11,)]


def test_a_file_that_was_made_without_it_keeps_its_size(tmp_path: Path, runner: asyncio.Runner) -> None:
    path = tmp_path / "old.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE things (data TEXT)")
    connection.commit()
    connection.close()
    database = runner.run(SqliteDatabase.open(path))
    runner.run(database.execute_many("INSERT INTO things VALUES (?)", [("x" * 2000,)] * 1000))
    runner.run(database.execute("DELETE FROM things"))

    assert runner.run(database.trim()) == 0
    runner.run(database.close())
