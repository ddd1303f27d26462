"""The background job: it goes on after failures."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tests.unit.telemetry.records import record
from tests.unit.telemetry.turns import until

from fairlead.storage.connect import open_database
from fairlead.telemetry.ledger import rollup_job
from fairlead.telemetry.ledger.db import Ledger
from fairlead.telemetry.ledger.rollup_db import Rollups


def test_it_rolls_up_again_and_again_and_tells_of_failures_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup_job, "_EVERY_S", 0.0)
    caplog.set_level(logging.INFO)

    async def main() -> None:
        database = await open_database(":memory:")
        ledger = Ledger(database)
        ledger.take([record(1)])
        await ledger.commit()
        await database.execute("ALTER TABLE rollups RENAME TO elsewhere")
        job = asyncio.create_task(rollup_job.run(ledger, Rollups(database)))
        await until(lambda: caplog.records)
        await database.execute("ALTER TABLE elsewhere RENAME TO rollups")
        await until(lambda: len(caplog.records) > 1)
        job.cancel()
        assert (await database.fetch("SELECT COUNT(*) FROM rollups"))[0][0] == 3
        await database.close()

    asyncio.run(main())

    assert [entry.levelno for entry in caplog.records] == [logging.WARNING, logging.INFO]
