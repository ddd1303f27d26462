"""How long records are kept."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tests.unit.telemetry.records import record
from tests.unit.telemetry.turns import until

from fairlead.errors import StorageError
from fairlead.storage.connect import open_database
from fairlead.telemetry import retention
from fairlead.telemetry.db import Filter, Ledger

DAY_S = 86_400.0


def test_only_requests_older_than_the_days_are_deleted() -> None:
    async def main() -> None:
        database = await open_database(":memory:")
        ledger = Ledger(database)
        now = 1_700_000_000.0
        ledger.take(record(day, started_at=now - day * DAY_S - 1) for day in range(40))
        await ledger.commit()

        assert await retention.sweep(ledger, 30, now) == 10

        page = await ledger.page(Filter(), limit=100)
        assert len(page.entries) == 30
        assert min(entry.started_at for entry in page.entries) > now - 30 * DAY_S
        await database.close()

    asyncio.run(main())


def test_a_store_that_fails_is_logged_and_swept_later(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        database = await open_database(":memory:")
        await database.close()
        with pytest.raises(StorageError):
            await retention.sweep(Ledger(database), 1, 0.0)

        sweeping = asyncio.get_running_loop().create_task(retention.run(Ledger(database), 1))
        await until(lambda: caplog.records)
        assert not sweeping.done()
        assert caplog.records[0].levelno == logging.WARNING
        sweeping.cancel()

    asyncio.run(main())
