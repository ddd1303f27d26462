"""Keeps the ledger to its age.

One worker of a gateway runs this; several would do no harm.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from fairlead.errors import StorageError
from fairlead.telemetry.db import Ledger

_log: Final = logging.getLogger(__name__)

_DAY_S: Final = 86_400.0
_EVERY_S: Final = 3600.0


async def sweep(ledger: Ledger, days: int, now: float) -> int:
    """Delete what is older than `days` at `now` (Unix seconds); the number of requests deleted."""
    return await ledger.expire(now - days * _DAY_S)


async def run(ledger: Ledger, days: int, *, clock: Callable[[], float] = time.time) -> None:
    """Sweep now and every hour, until cancelled."""
    while True:
        try:
            deleted = await sweep(ledger, days, clock())
        except StorageError as error:
            # The next hour's sweep makes up for it.
            _log.warning("old records were not deleted", extra={"error": str(error)})
        else:
            if deleted:
                _log.info("old records deleted", extra={"records": deleted, "days": days})
        await asyncio.sleep(_EVERY_S)
