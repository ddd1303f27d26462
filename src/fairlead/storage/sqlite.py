"""`Database` on SQLite, for one machine.

One file in write-ahead-log mode, shared by every process that opens it. All
writes of a process run on one thread and its connection, in order; reads run
on a few others, each on a connection that refuses to write, so a read waits
neither for a write nor for a slow report. The event loop never waits for the
disk: calls are awaited as asyncio futures.

What a crash can lose, with `synchronous=NORMAL`: a killed process (SIGKILL,
out of memory) loses nothing that was committed, because commits are in the
kernel's hands. A power failure or kernel crash may lose the commits since the
last checkpoint, never more, and never damages the file. `durable=True` waits
for the disk at each commit and closes that gap too.

A connection must not cross a fork: each process opens its own. A call that is
cancelled before its turn is not made; one under way is finished all the same.
The queue of calls has no bound of its own: each caller awaits its call, so it
is never longer than the number of callers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from fairlead.errors import StatementRejected, StorageDamaged, StorageError, StorageUnusable
from fairlead.storage.ports import Row, Value

P = ParamSpec("P")
T = TypeVar("T")

_READERS: Final = 4
_TRIM_PAGES: Final = 1024
"""Pages given back at a time: 4 MB, some ten milliseconds."""
_INCREMENTAL: Final = 2
_WAL_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""A log that grew past this during a long read is cut back at the next checkpoint."""

_Meaning = tuple[type[StorageError], str, str | None]

_MEANINGS: Final[dict[int, _Meaning]] = {
    sqlite3.SQLITE_BUSY: (
        StorageError,
        "stays locked by another process",
        "look for a backup or a shell that holds a transaction open on it",
    ),
    sqlite3.SQLITE_LOCKED: (StorageError, "is locked within this process", None),
    sqlite3.SQLITE_FULL: (StorageError, "cannot grow: the disk is full", "free space on its file system"),
    sqlite3.SQLITE_IOERR: (
        StorageError,
        "could not be read or written",
        "check the disk, its free space, and the kernel's log",
    ),
    sqlite3.SQLITE_NOMEM: (StorageError, "ran out of memory", None),
    sqlite3.SQLITE_NOTADB: (
        StorageDamaged,
        "is not a SQLite database",
        "point `state.dir` elsewhere, or move the file away and start afresh",
    ),
    sqlite3.SQLITE_CORRUPT: (
        StorageDamaged,
        "is damaged",
        "stop every process that uses it and restore a backup, or salvage with `sqlite3 FILE .recover`",
    ),
    sqlite3.SQLITE_READONLY: (
        StorageUnusable,
        "is read-only",
        "give the user that runs Fairlead the right to write to the file and its directory",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        StorageUnusable,
        "cannot be opened",
        "check that its directory exists and that the user that runs Fairlead may write to it",
    ),
    sqlite3.SQLITE_PERM: (StorageUnusable, "may not be opened", "check the owner and mode of the file"),
    sqlite3.SQLITE_CONSTRAINT: (StatementRejected, "refused a statement that breaks a constraint", None),
}
"""What a primary result code means for the reader; the rest is a statement that SQLite rejects."""


class SqliteDatabase:
    """`storage.ports.Database` on one SQLite file, or in memory when it has no path."""

    def __init__(self, path: Path | None, *, durable: bool, busy_timeout_s: float) -> None:
        """Use `open`, which also connects."""
        self.name = str(path) if path is not None else ":memory:"
        self._path = path
        self._durable = durable
        self._busy_timeout_s = busy_timeout_s
        self._closed = False
        self._write_pool = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        # In memory there is one connection, since each would be a database of its own.
        self._read_pool = self._write_pool if path is None else ThreadPoolExecutor(_READERS, "sqlite-reader")
        self._writer: sqlite3.Connection | None = None
        self._readers: deque[sqlite3.Connection] = deque()

    @classmethod
    async def open(
        cls, path: Path | None, *, durable: bool = False, busy_timeout_s: float = 5.0
    ) -> SqliteDatabase:
        """Connect, creating the file (mode 0600) and its directory (mode 0700) where missing.

        Args:
            path: the file; None for a database in memory that nobody else sees.
            durable: wait for the disk at each commit, so that not even a power failure loses it.
            busy_timeout_s: how long a statement waits for another process's write.

        Raises:
            StorageError: naming the file, what is wrong and what to do.
        """
        database = cls(path, durable=durable, busy_timeout_s=busy_timeout_s)
        try:
            await database._call(database._write_pool, database._start)
        except BaseException:
            database._write_pool.shutdown(wait=False)
            database._read_pool.shutdown(wait=False)
            raise
        return database

    async def fetch(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """All rows of a query; what would write is refused. Sees every write that was awaited before."""
        return await self._call(self._read_pool, self._fetch, sql, params)

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        """Run one statement and return the number of rows it changed."""
        return await self._call(self._write_pool, self._execute, sql, params)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        """Run one statement for each of `rows`, all or none."""
        await self._call(self._write_pool, self._execute_many, sql, rows)

    async def transaction(self, statements: Sequence[tuple[str, Sequence[Value]]]) -> list[int]:
        """Run statements in order, all or none; the rows changed by each.

        The write lock is taken before the first statement, so that what they
        read is not changed by another process before the last.
        """
        return await self._call(self._write_pool, self._transaction, statements)

    async def trim(self) -> int:
        """Give up to 4 MB of unused pages back to the file system; the bytes given back.

        0 for a file that was made without `auto_vacuum`: it keeps its size, and uses the space again.
        """
        return await self._call(self._write_pool, self._trim)

    async def close(self) -> None:
        """Finish what is under way and close. Calls made afterwards raise StorageError."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._stop)

    async def _call(
        self, pool: ThreadPoolExecutor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function` on one of the pool's threads, with SQLite's errors translated there."""
        if self._closed:
            raise StorageError(f"state store {self.name} is closed")

        def translated() -> T:
            try:
                return function(*args, **kwargs)
            except (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeEncodeError) as error:
                # The last two are values that SQLite has no type for.
                raise translate(error, self.name) from error

        return await asyncio.get_running_loop().run_in_executor(pool, translated)

    # --- on the threads ---------------------------------------------------------------------

    def _start(self) -> None:
        if self._path is not None:
            _create_private(self._path)
        connection = self._connect()
        try:
            self._write_ahead(connection)
        except BaseException:
            connection.close()
            raise
        self._writer = connection

    def _stop(self) -> None:
        self._read_pool.shutdown(wait=True)
        self._write_pool.shutdown(wait=True)
        while self._readers:
            self._readers.pop().close()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path if self._path is not None else ":memory:",
            timeout=self._busy_timeout_s,
            isolation_level=None,  # transactions are begun here, in so many words
            check_same_thread=False,  # one thread at a time, but not always the one that connected
        )
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        return connection

    def _write_ahead(self, connection: sqlite3.Connection) -> None:
        # Of an empty file only: one with tables keeps what it was made with.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA synchronous = FULL" if self._durable else "PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
        deadline = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
                break
            except sqlite3.OperationalError as error:
                # The change of mode does not always honour the busy timeout when processes start together.
                if _primary(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)
        if self._path is not None and mode != "wal":
            raise StorageUnusable(
                f"state store {self.name}: its file system cannot hold a write-ahead log",
                hint="keep `state.dir` on a local disk, not on a network file system",
            )

    def _fetch(self, sql: str, params: Sequence[Value]) -> list[Row]:
        if self._path is None:
            connection = self._connection()
            connection.execute("PRAGMA query_only = ON")
            try:
                return self._query(connection, sql, params)
            finally:
                connection.execute("PRAGMA query_only = OFF")
        try:
            connection = self._readers.pop()
        except IndexError:
            connection = self._connect()
            connection.execute("PRAGMA query_only = ON")
        try:
            return self._query(connection, sql, params)
        finally:
            self._readers.append(connection)

    def _query(self, connection: sqlite3.Connection, sql: str, params: Sequence[Value]) -> list[Row]:
        try:
            return connection.execute(sql, params).fetchall()
        except sqlite3.OperationalError as error:
            # The plain code is `query_only`; a file without write permission has an extended one.
            # Python's module raises it too, without any: for text that is not UTF-8.
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY:
                raise StatementRejected(
                    f"state store {self.name}: a query must not write; use `execute`"
                ) from error
            raise

    def _execute(self, sql: str, params: Sequence[Value]) -> int:
        return max(0, self._connection().execute(sql, params).rowcount)

    def _execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        with _immediate(self._connection()) as connection:
            connection.executemany(sql, rows)

    def _transaction(self, statements: Sequence[tuple[str, Sequence[Value]]]) -> list[int]:
        with _immediate(self._connection()) as connection:
            return [max(0, connection.execute(sql, params).rowcount) for sql, params in statements]

    def _trim(self) -> int:
        connection = self._connection()
        if self._number("auto_vacuum") != _INCREMENTAL:
            return 0
        before = self._number("freelist_count")
        # A page is given back at each step, and `execute` makes one step: there is no row to fetch.
        connection.executescript(f"PRAGMA incremental_vacuum({_TRIM_PAGES})")
        return (before - self._number("freelist_count")) * self._number("page_size")

    def _number(self, pragma: str) -> int:
        return int(self._connection().execute(f"PRAGMA {pragma}").fetchone()[0])

    def _connection(self) -> sqlite3.Connection:
        assert self._writer is not None, "opened by `open`"
        return self._writer


def translate(error: Exception, name: str) -> StorageError:
    """The StorageError that a failure of SQLite means, decided by its result code."""
    code = _primary(error)
    kind, meaning, hint = _MEANINGS.get(code, (StatementRejected, "rejected a statement", None))
    return kind(f"state store {name} {meaning} ({error})", hint=hint)


def _primary(error: Exception) -> int:
    """The result code without its extension; -1 for errors of Python's module itself."""
    code = getattr(error, "sqlite_errorcode", None)
    return -1 if code is None else int(code) & 0xFF


@contextlib.contextmanager
def _immediate(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """A transaction that holds the write lock from its start: committed at the end, undone on an error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        # Some errors (a full disk) have rolled it back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _create_private(path: Path) -> None:
    """Create the file and its directory for this user only; what exists keeps its mode.

    SQLite gives the log and its index the mode of the file.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StorageUnusable(
            f"state store {path} cannot be created or opened: {error.strerror}",
            hint="choose another directory with `state.dir`, or give this user the right to write there",
        ) from error
