"""Keeps roll-ups up to date in the background.

One worker of a gateway runs this; several gateways may share a database, and
whoever comes first does the work. A failing database costs nothing but time:
what is not rolled up stays in the journal, and queries read it there.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from fairlead.errors import StorageError
from fairlead.telemetry.ledger.db import Ledger
from fairlead.telemetry.ledger.rollup_db import Rollups

_log: Final = logging.getLogger(__name__)

_EVERY_S: Final = 10.0
_PAUSE_S: Final = 0.02
"""Between two steps, so that the ledger's writes get their turn."""
_ADOPTED: Final = 256
"""Requests from before there was a journal that are put into it at a time."""


async def catch_up(ledger: Ledger, rollups: Rollups, *, pause_s: float = _PAUSE_S) -> None:
    """Roll up everything that is there, older requests last.

    Raises:
        StorageError: the database failed; what was done until then stays done.
    """
    while True:
        while await rollups.step():  # noqa: ASYNC110  # a pause between steps, not a wait for an event
            await asyncio.sleep(pause_s)
        found = await ledger.not_rolled_up(_ADOPTED)
        if found is None:
            return
        ids, batch = found
        await rollups.adopt(f"again-{ids[0]}", ids, batch)
        await asyncio.sleep(pause_s)


async def run(ledger: Ledger, rollups: Rollups) -> None:
    """Catch up every few seconds, until cancelled."""
    failing = False
    while True:
        await asyncio.sleep(_EVERY_S)
        try:
            await catch_up(ledger, rollups)
        except StorageError as error:
            if not failing:
                _log.warning("requests are not rolled up", extra={"error": str(error)})
            failing = True
        else:
            if failing:
                _log.info("requests are rolled up again")
            failing = False
