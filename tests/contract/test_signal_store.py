"""What semantic metrics keep, on Postgres: the same scenarios as on SQLite."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator

import pytest
from tests.e2e.postgres_server import start_postgres
from tests.unit.signals.test_db import SCENARIOS

from fairlead.signals.db import SignalStore
from fairlead.storage.connect import open_database


@pytest.fixture(scope="module")
def fresh() -> Iterator[Callable[[], str]]:
    """The URL of an empty database."""
    names = itertools.count()
    with start_postgres() as server:
        yield lambda: server.database(f"signals{next(names)}")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_postgres_keeps_it_as_sqlite_does(scenario: str, fresh: Callable[[], str]) -> None:
    async def main() -> None:
        database = await open_database(fresh())
        try:
            await SCENARIOS[scenario](SignalStore(database))
        finally:
            await database.close()

    asyncio.run(main())
