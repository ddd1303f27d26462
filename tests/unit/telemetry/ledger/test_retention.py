"""How long records are kept."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from tests.unit.telemetry.records import record
from tests.unit.telemetry.turns import until

from fairlead.errors import StorageError
from fairlead.storage.connect import open_database
from fairlead.telemetry.ledger import retention
from fairlead.telemetry.ledger.db import Filter, Ledger
from fairlead.telemetry.ledger.rollup_db import Rollups
from fairlead.telemetry.ledger.rollup_job import catch_up

DAY_S = 86_400.0
KEPT = retention.Days(requests=30, minutes=8, hours=100, days=1100)


def test_only_requests_older_than_the_days_are_deleted() -> None:
    async def main() -> None:
        database = await open_database(":memory:")
        ledger = Ledger(database)
        now = 1_700_000_000.0
        ledger.take(record(day, started_at=now - day * DAY_S - 1) for day in range(40))
        await ledger.commit()

        assert (await retention.sweep(ledger, KEPT, now)).requests == 10

        page = await ledger.page(Filter(), limit=100)
        assert len(page.entries) == 30
        assert min(entry.started_at for entry in page.entries) > now - 30 * DAY_S
        await database.close()

    asyncio.run(main())


def test_rollups_have_ages_of_their_own_and_space_is_given_back(tmp_path: Path) -> None:
    async def main() -> None:
        database = await open_database(str(tmp_path))
        ledger, rollups = Ledger(database), Rollups(database)
        now = 1_700_000_000.0
        ledger.take(record(n, started_at=now - (n % 40) * DAY_S - 1, error="x" * 500) for n in range(4000))
        await ledger.commit()
        await catch_up(ledger, rollups, pause_s=0)

        first = await retention.sweep(ledger, KEPT, now, rollups=rollups)
        second = await retention.sweep(ledger, KEPT, now, rollups=rollups)

        assert (first.requests, first.rollups) == (1000, 0)
        assert first.bytes_given_back > 500_000
        assert (second.requests, second.rollups) == (0, 31)
        assert await database.fetch("SELECT COUNT(*) FROM rollups WHERE span_s = 60") == [(9,)]
        assert await database.fetch("SELECT COUNT(*) FROM rollups WHERE span_s = 86400") == [(40,)]
        await database.close()

    asyncio.run(main())


def test_a_store_that_fails_is_logged_and_swept_later(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        database = await open_database(":memory:")
        await database.close()
        with pytest.raises(StorageError):
            await retention.sweep(Ledger(database), KEPT, 0.0)

        sweeping = asyncio.get_running_loop().create_task(retention.run(Ledger(database), KEPT))
        await until(lambda: caplog.records)
        assert not sweeping.done()
        assert caplog.records[0].levelno == logging.WARNING
        sweeping.cancel()

    asyncio.run(main())
