"""Keeps a worker's snapshot of the API keys fresh.

One cheap query a few times a second asks for the revision; what has changed
since the last one is read only when it differs. A change made by any process
is in force on every worker within a second, without a query per request.

When the store fails, the last snapshot stays in force: nobody can revoke a key
in a store that cannot be reached, and an outage of the store must not become
one of every model. Before the first snapshot nobody is let in.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from fairlead.errors import StorageError
from fairlead.gateway import db
from fairlead.gateway.auth import KeySnapshot
from fairlead.storage.ports import Database

_LOG_EVERY_S: Final = 60.0
_ANSWER_TIMEOUT_S: Final = 5.0


class KeyWatch:
    """Polls the keys of a database. Read `snapshot` anew for each request."""

    def __init__(
        self,
        database: Database,
        *,
        interval_s: float = 0.4,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` paces the log only."""
        self.snapshot = KeySnapshot()
        self.failures = 0
        """Polls that failed since the start."""
        self._database = database
        self._interval_s = interval_s
        self._clock = clock
        self._log = logging.getLogger(__name__)
        self._failing = False
        self._logged_at = -_LOG_EVERY_S
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether keys have been loaded at all."""
        return self.snapshot.revision >= 0

    async def start(self) -> None:
        """Load the keys, then keep them fresh. A failing store is no error here: it is asked again."""
        assert self._task is None, "started once"
        await self.poll()
        self._task = asyncio.create_task(self._watch(), name="key-watch")

    async def stop(self) -> None:
        """Stop polling; the last snapshot stays."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def poll(self) -> bool:
        """Ask once, and say whether the snapshot is as fresh as the store."""
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                await self._refresh()
        except (StorageError, TimeoutError) as error:
            self._failed(error)
            return False
        if self._failing:
            self._failing = False
            self._log.info("API keys can be read again")
        return True

    async def _refresh(self) -> None:
        held = self.snapshot
        # Read before the keys: a change in between is then found by the next poll, never missed.
        revision = await db.revision(self._database)
        if revision == held.revision:
            return
        if revision < held.revision:
            # The store was replaced by an older one.
            held = KeySnapshot()
        keys = await db.changed_since(self._database, held.revision)
        self.snapshot = held.changed(keys, revision)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self.poll()
            except Exception as error:
                # This loop is its own supervisor: were it to end, revocations would silently stop.
                self._failed(error, trace=True)

    def _failed(self, error: Exception, *, trace: bool = False) -> None:
        self.failures += 1
        self._failing = True
        now = self._clock()
        if now - self._logged_at >= _LOG_EVERY_S:
            self._logged_at = now
            self._log.error(
                "API keys cannot be refreshed (%d failures so far): %s%s",
                self.failures,
                type(error).__name__ if isinstance(error, TimeoutError) else error,
                "; the keys known until now stay in force" if self.ready else "; nobody is let in",
                exc_info=error if trace else None,
            )
