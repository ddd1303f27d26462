"""Keeps the ledger and its roll-ups to their age.

One worker of a gateway runs this; several would do no harm. Everything is
deleted in small transactions with pauses between, so that no write waits, and
the space goes back to the file system in the same way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

import msgspec

from fairlead.errors import StorageError
from fairlead.storage.ports import Trims
from fairlead.telemetry.ledger.db import Ledger
from fairlead.telemetry.ledger.rollup_db import Rollups

_log: Final = logging.getLogger(__name__)

_DAY_S: Final = 86_400.0
_EVERY_S: Final = 3600.0
_PAUSE_S: Final = 0.05


class Days(msgspec.Struct, frozen=True, kw_only=True):
    """How many days what is kept."""

    requests: int
    minutes: int
    hours: int
    days: int


class Swept(msgspec.Struct, frozen=True, kw_only=True):
    """What one sweep has deleted."""

    requests: int
    rollups: int
    bytes_given_back: int


async def sweep(ledger: Ledger, days: Days, now: float, *, rollups: Rollups | None = None) -> Swept:
    """Delete what is too old at `now` (Unix seconds).

    Raises:
        StorageError: the database failed; what was deleted until then stays so.
    """
    requests = await ledger.expire(now - days.requests * _DAY_S)
    kept = {60: days.minutes, 3600: days.hours, 86_400: days.days}
    deleted = await (rollups or Rollups(ledger.database)).expire(
        {span_s: max(0, int(now - count * _DAY_S)) for span_s, count in kept.items()}
    )
    given_back = 0
    database = ledger.database
    while isinstance(database, Trims) and (size := await database.trim()):
        given_back += size
        await asyncio.sleep(_PAUSE_S)
    return Swept(requests=requests, rollups=deleted, bytes_given_back=given_back)


async def run(
    ledger: Ledger, days: Days, *, rollups: Rollups | None = None, clock: Callable[[], float] = time.time
) -> None:
    """Sweep now and every hour, until cancelled."""
    while True:
        try:
            swept = await sweep(ledger, days, clock(), rollups=rollups)
        except StorageError as error:
            # The next hour's sweep makes up for it.
            _log.warning("old records were not deleted", extra={"error": str(error)})
        else:
            if swept.requests or swept.rollups:
                _log.info(
                    "old records deleted",
                    extra={
                        "records": swept.requests,
                        "rollups": swept.rollups,
                        "bytes": swept.bytes_given_back,
                        "days": days.requests,
                    },
                )
        await asyncio.sleep(_EVERY_S)
