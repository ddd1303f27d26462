"""`Database` on Postgres, for state that several machines share.

Writes and reads have connections of their own; those for reads refuse to
write. Every call runs in a task: a caller that is cancelled does not break a
connection in the middle of a statement, and what is under way is finished. A
call has `timeout_s` for everything, waiting for a connection included; the
server is told to give the statement up at the same time.

Failures. A connection that was lost while it was idle is replaced unseen. One
that is lost in the middle of a read is replaced, and the read made again. One
that is lost in the middle of a write raises StorageError, because nobody knows
whether it was committed: writers either repeat what changes nothing the second
time, as the ledger does, or tell their caller.

What a crash can lose: of the gateway, nothing that was committed; of the
server, what its `synchronous_commit` allows, by default nothing.

asyncpg is imported here and beside (`postgres_errors`) only; the extra
`fairlead[postgres]` brings it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from fairlead.errors import ConfigError, StatementRejected, StorageError, StorageUnusable
from fairlead.storage.dialect import numbered
from fairlead.storage.ports import Row, Value
from fairlead.storage.postgres_errors import READ_ONLY, translate
from fairlead.storage.postgres_pool import Backoff, Connection, Pool

T = TypeVar("T")

_CONNECT_S: Final = 5.0
_GOOD_BYE_S: Final = 2.0
_MEMO: Final = 512
"""Statements whose translation is kept."""
_SLICE: Final = 500
"""Rows turned into tuples between two turns of the event loop: about 0.2 ms."""
_OLDEST: Final = 12
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])?(?::[0-9]*)?|/[^\s@]*")
"""A host with its port, or the directory of a socket."""
_CHANGED: Final = re.compile(r"(?:INSERT \d+|UPDATE|DELETE|MERGE) (\d+)\Z")


class PostgresDatabase:
    """`storage.ports.Database` on one Postgres database."""

    def __init__(self, url: str, *, connections: int, timeout_s: float) -> None:
        """Use `open`, which also connects."""
        self.name = display_name(url)
        self._url = url
        self._timeout_s = timeout_s
        self._closed = False
        self._translated: dict[str, tuple[str, int]] = {}
        self._under_way: set[asyncio.Task[Any]] = set()
        clock = asyncio.get_running_loop().time
        backoff = Backoff()
        writers = max(1, connections // 2)
        self._writers = Pool(lambda: self._connect(False), size=writers, backoff=backoff, clock=clock)
        self._readers = Pool(
            lambda: self._connect(True), size=max(1, connections - writers), backoff=backoff, clock=clock
        )

    @classmethod
    async def open(cls, url: str, *, connections: int = 4, timeout_s: float = 10.0) -> PostgresDatabase:
        """Connect, and see that the server can be used.

        Args:
            url: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=...`, as libpq takes it.
            connections: most connections at a time, half of them for writes.
            timeout_s: longest time for one call.

        Raises:
            ConfigError: the URL cannot be understood.
            StorageError: the server cannot be reached or used.
        """
        database = cls(url, connections=connections, timeout_s=timeout_s)
        await database._call(database._writers, database._check)
        return database

    async def fetch(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """All rows of a query; what would write is refused. Sees every write that was awaited before."""
        text = self._text(sql, params)

        async def ask(connection: Connection) -> list[Row]:
            records = await connection.fetch(text, *params)
            rows: list[Row] = []
            for start in range(0, len(records), _SLICE):
                if start:
                    await asyncio.sleep(0)
                rows += map(tuple, records[start : start + _SLICE])
            return rows

        return await self._call(self._readers, ask, again=True)

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        """Run one statement and return the number of rows it changed."""
        text = self._text(sql, params)
        return await self._call(self._writers, lambda connection: _execute(connection, text, params))

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        """Run one statement for each of `rows`, all or none."""
        if not rows:
            return
        text = self._text(sql, rows[0])
        for row in rows:
            self._text(sql, row)

        async def run(connection: Connection) -> None:
            await connection.executemany(text, rows)  # in one transaction of its own

        await self._call(self._writers, run)

    async def transaction(self, statements: Sequence[tuple[str, Sequence[Value]]]) -> list[int]:
        """Run statements in order, all or none; the rows changed by each.

        Others may commit between two statements (READ COMMITTED): a transaction that depends on what
        it has read begins with a statement that locks a row.
        """
        work = [(self._text(sql, params), params) for sql, params in statements]

        async def run(connection: Connection) -> list[int]:
            async with connection.transaction():
                return [await _execute(connection, text, params) for text, params in work]

        return await self._call(self._writers, run)

    async def close(self) -> None:
        """Finish what is under way and close. Calls made afterwards raise StorageError."""
        if self._closed:
            return
        self._closed = True
        if self._under_way:
            await asyncio.wait(self._under_way)
        await self._writers.close(_GOOD_BYE_S)
        await self._readers.close(_GOOD_BYE_S)

    # --- calls ------------------------------------------------------------------------------

    async def _call(
        self, pool: Pool, work: Callable[[Connection], Awaitable[T]], *, again: bool = False
    ) -> T:
        """Do `work` in a task of its own, which goes on when the caller is cancelled."""
        if self._closed:
            raise StorageError(f"state store {self.name} is closed")
        task = asyncio.get_running_loop().create_task(self._worked(pool, work, again=again))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _worked(self, pool: Pool, work: Callable[[Connection], Awaitable[T]], *, again: bool) -> T:
        try:
            async with asyncio.timeout(self._timeout_s):
                try:
                    return await self._once(pool, work)
                except _Lost:
                    if not again:
                        raise
                    return await self._once(pool, work)
        except _Lost as lost:
            raise lost.error from lost.error.__cause__
        except TimeoutError as error:
            raise translate(error, self.name) from error

    async def _once(self, pool: Pool, work: Callable[[Connection], Awaitable[T]]) -> T:
        connection = await pool.take()
        try:
            result = await work(connection)
        except Exception as error:
            if isinstance(error, asyncpg.PostgresError | asyncpg.DataError) and not connection.is_closed():
                if getattr(error, "sqlstate", None) == READ_ONLY:
                    if pool is self._readers:
                        pool.put(connection)
                        raise StatementRejected(
                            f"state store {self.name}: a query must not write; use `execute`"
                        ) from error
                    # A primary that has become a standby: the next connection finds the new one.
                    pool.drop(connection)
                elif isinstance(error, asyncpg.InvalidCachedStatementError):
                    pool.drop(connection)
                else:
                    pool.put(connection)
                raise translate(error, self.name) from error
            pool.drop(connection)
            if isinstance(error, TimeoutError):
                raise
            if not isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError | OSError):
                raise
            translated = translate(error, self.name)
            translated.__cause__ = error
            raise _Lost(translated) from error
        except BaseException:
            # Cancelled in the middle, by the time-out or the end of the process: its state is in doubt.
            pool.drop(connection)
            raise
        pool.put(connection)
        return result

    def _text(self, sql: str, params: Sequence[Value]) -> str:
        """The statement as Postgres takes it. Raises StatementRejected when parameters are missing."""
        found = self._translated.get(sql)
        if found is None:
            if len(self._translated) >= _MEMO:
                self._translated.pop(next(iter(self._translated)))
            found = self._translated[sql] = numbered(sql)
        text, count = found
        if count != len(params):
            raise StatementRejected(
                f"state store {self.name}: a statement has {count} parameters and got {len(params)}"
            )
        return text

    # --- connecting -------------------------------------------------------------------------

    async def _connect(self, read_only: bool) -> Connection:
        # The server ends what we no longer wait for, and what a frozen process left open.
        settings = {
            "application_name": "fairlead",
            "statement_timeout": str(int(self._timeout_s * 1000)),
            "idle_in_transaction_session_timeout": "60000",
            "jit": "off",  # compiling a query of some milliseconds takes longer than running it
        }
        if read_only:
            settings["default_transaction_read_only"] = "on"
        try:
            connection = await asyncpg.connect(
                self._url,
                timeout=min(_CONNECT_S, self._timeout_s),
                max_cacheable_statement_size=0,  # the ledger's statement for hundreds of rows is long
                server_settings=settings,
            )
            await connection.set_type_codec(
                "numeric", schema="pg_catalog", encoder=str, decoder=_number, format="text"
            )
        except ValueError:
            # asyncpg's ClientConfigurationError is one, too. Its text may hold a part of the URL.
            raise _wrong_url() from None
        except (
            OSError,
            TimeoutError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
        ) as error:
            raise translate(error, self.name) from error
        return connection

    async def _check(self, connection: Connection) -> None:
        version = connection.get_server_version()
        if version.major < _OLDEST:
            raise StorageUnusable(f"state store {self.name} is Postgres {version.major}; {_OLDEST} is needed")
        encoding = connection.get_settings().server_encoding
        if encoding != "UTF8":
            raise StorageUnusable(
                f"state store {self.name} keeps its text in {encoding}",
                hint="make the database with `createdb --encoding=UTF8 --template=template0`",
            )


class _Lost(Exception):
    """The connection was lost; `error` is what the caller is told."""

    def __init__(self, error: StorageError) -> None:
        super().__init__(error.message)
        self.error = error


def display_name(url: str) -> str:
    """How a message names the store: server and database, without user, password and options.

    Raises:
        ConfigError: it is no URL.
    """
    try:
        parts = urlsplit(url)
        hosts = parts.netloc.rpartition("@")[2] or parse_qs(parts.query).get("host", ["localhost"])[0]
    except ValueError:
        raise _wrong_url() from None
    # A password with a `/` that is not encoded would be taken for a host and a path.
    if not all(map(_HOST.fullmatch, hosts.split(","))) or "@" in parts.path:
        raise _wrong_url()
    return f"postgresql://{hosts}/{unquote(parts.path.lstrip('/'))}"


def _wrong_url() -> ConfigError:
    return ConfigError(
        "the URL of the Postgres database cannot be understood",
        param="storage.database",
        hint="write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with %XX for what is no letter or digit",
    )


async def _execute(connection: Connection, text: str, params: Sequence[Value]) -> int:
    if params:
        status = await connection.execute(text, *params)
    else:
        # Without parameters `execute` would take several statements at once.
        statement = await connection.prepare(text)
        await statement.fetch()
        status = statement.get_statusmsg()
    changed = _CHANGED.match(status or "")
    return int(changed[1]) if changed else 0


def _number(text: str) -> int | float:
    """A NUMERIC, which sums of BIGINT are, as a number of Python's."""
    value = Decimal(text)
    return int(value) if value == value.to_integral_value() else float(value)
