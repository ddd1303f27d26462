"""Answers a scrape: this worker's metrics, or all workers' when there are more.

The text is made in a thread, so that a large exposition delays no request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fairlead.telemetry.metrics.exposition import negotiate, render
from fairlead.telemetry.metrics.samples import Family, single
from fairlead.telemetry.metrics.siblings import Siblings


class Scrape:
    """What `/metrics` calls."""

    def __init__(self, families: Callable[[], tuple[Family, ...]], siblings: Siblings | None = None) -> None:
        """Answer from `families`, this process' own, or from all `siblings`."""
        self._families = families
        self._siblings = siblings

    async def answer(self, accept: str = "") -> tuple[str, bytes]:
        """Content type and body for a scrape with this `Accept` header.

        May be awaited outside a task; the work runs in one of its own.
        """
        return await asyncio.get_running_loop().create_task(self._answer(accept))

    async def collect(self) -> tuple[Family, ...]:
        """The metrics themselves, of all workers."""
        return self._families() if self._siblings is None else await self._collected(self._siblings)

    async def _answer(self, accept: str) -> tuple[str, bytes]:
        families = await self.collect()
        content_type = negotiate(accept)
        return content_type, await asyncio.to_thread(render, families, content_type)

    async def _collected(self, siblings: Siblings) -> tuple[Family, ...]:
        families, missing = await siblings.collect()
        return (
            *families,
            single(
                "fairlead_workers_missing",
                "gauge",
                "Workers that did not answer this scrape; their last known counters are used.",
                missing,
            ),
        )
