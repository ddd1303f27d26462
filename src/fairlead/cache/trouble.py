"""What goes wrong in the cache's stores: counted always, logged at most once a minute for each store.

The cache fails open: whoever asked gets a miss, and the model is asked.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from fairlead.errors import FairleadError

_log: Final = logging.getLogger(__name__)
_QUIET_S: Final = 60.0

DAMAGED: Final = "damaged"
"""The word for an entry whose checksum is wrong."""


class Trouble:
    """Failures by store and kind."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        """By store (`disk`, `redis`) and what failed: `get`, `put`, `purge`, `slow`, `damaged`, `dropped`."""
        self._clock = clock
        self._next_log: dict[str, float] = {}
        self._unlogged: Counter[str] = Counter()

    def met(self, store: str, what: str, error: FairleadError | None = None, *, count: int = 1) -> None:
        """Count a failure, and log it if none of this store was logged in the last minute."""
        self.counts[store, what] += count
        now = self._clock()
        if now < self._next_log.get(store, now):
            self._unlogged[store] += count
            return
        self._next_log[store] = now + _QUIET_S
        facts = {"store": store, "failed": what, "error": "" if error is None else error.message}
        if others := self._unlogged.pop(store, 0):
            facts["not_logged"] = str(others)
        _log.warning("the cache does without one of its stores", extra=facts)
