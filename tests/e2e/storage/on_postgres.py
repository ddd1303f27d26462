"""A plugin of pytest: databases in memory are schemas of a Postgres server instead.

    FAIRLEAD_TEST_POSTGRES=postgresql://... pytest -p tests.e2e.storage.on_postgres tests/unit/...

Unit tests open `:memory:`; with this plugin each of them gets a schema of its
own in the database that the variable names. It replaces the functions before
any test module imports them.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

from fairlead.storage import connect
from fairlead.storage.migrate import migrate, migrations
from fairlead.storage.ports import Database
from fairlead.storage.postgres import PostgresDatabase
from fairlead.storage.sqlite import SqliteDatabase

SERVER = os.environ["FAIRLEAD_TEST_POSTGRES"]
NAMES = itertools.count()

original_open = connect.open_database
original_sqlite = SqliteDatabase.open


class Fresh(PostgresDatabase):
    """A schema of its own in the server's database, which goes when it is closed."""

    schema = ""

    async def close(self) -> None:
        """Close and drop it."""
        if not self._closed:
            await super().close()
            await administer(f"DROP SCHEMA {self.schema} CASCADE")


async def fresh() -> Fresh:
    """A database without a table."""
    schema = f"unit{next(NAMES)}"
    await administer(f"CREATE SCHEMA {schema}")
    database = await Fresh.open(f"{SERVER}?search_path={schema}")
    assert isinstance(database, Fresh)
    database.schema = schema
    return database


async def administer(sql: str) -> None:
    """One statement on the server's own connection."""
    admin = await PostgresDatabase.open(SERVER, connections=2)
    await admin.execute(sql)
    await admin.close()


async def open_database(url_or_dir: str, **options: Any) -> Database:
    """As the original, but for memory."""
    if url_or_dir != ":memory:":
        return await original_open(url_or_dir, **options)
    database = await fresh()
    await migrate(database, migrations(), now=0.0, name=database.name)
    return database


async def open_sqlite(path: Any, **options: Any) -> Any:
    """As the original, but for memory."""
    return await (fresh() if path is None else original_sqlite(path, **options))


connect.open_database = open_database
SqliteDatabase.open = open_sqlite  # type: ignore[method-assign]  # that is the point
