"""Reads the configured endpoints and this host's GPUs, and tells the board.

An edge: one task for each endpoint, which asks once at a time and waits its
interval in between, however long the answer took. What hangs, fails or talks
nonsense is counted under the endpoint's name and asked again; nothing here is
on a request's way. Engines that are targets are read by the gateway's own
watch, which tells the same board.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from fairlead.config.scrape_options import Endpoint
from fairlead.errors import FairleadError
from fairlead.net.client import Client
from fairlead.telemetry.labels import clean
from fairlead.telemetry.scrapers import dcgm, dialects
from fairlead.telemetry.scrapers.board import Board
from fairlead.telemetry.scrapers.engine import EngineReading
from fairlead.telemetry.scrapers.fetch import Place, fetch
from fairlead.telemetry.scrapers.gpu import GpuReading
from fairlead.telemetry.scrapers.nvml import Reader
from fairlead.telemetry.scrapers.page import Page, read

_log: Final = logging.getLogger(__name__)

NAMES: Final = dialects.NAMES | dcgm.NAMES
_NVML: Final = "nvml"
_NVML_EVERY_S: Final = 15.0
_LARGE_PAGE: Final = 262_144
"""Bytes beyond which a page is read in a thread; below it takes a few milliseconds at most."""


class Scraped(msgspec.Struct, frozen=True):
    """An endpoint and how it is asked."""

    endpoint: Endpoint
    place: Place


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What a page holds."""

    engine: EngineReading | None
    gpus: tuple[GpuReading, ...]
    bad_lines: int


def contents(page: bytes, kind: str = "auto") -> Contents:
    """What a page says of an engine and of GPUs; either may be nothing. Pure."""
    found: Page = read(page, dcgm.NAMES if kind == "dcgm" else NAMES)
    return Contents(
        engine=dialects.reading(found, kind) if kind != "dcgm" else None,
        gpus=dcgm.readings(found) if kind in ("auto", "dcgm", "triton") else (),
        bad_lines=found.bad_lines,
    )


async def understood(page: bytes, kind: str = "auto") -> Contents:
    """The same, without holding the event loop up over a large page."""
    if len(page) > _LARGE_PAGE:
        return await asyncio.to_thread(contents, page, kind)
    return contents(page, kind)


class EndpointWatch:
    """Watches what it is given until it is cancelled."""

    def __init__(
        self, client: Client, board: Board, scraped: Sequence[Scraped], nvml: Reader | None = None
    ) -> None:
        self._client = client
        self._board = board
        self._scraped = scraped
        self._nvml = nvml
        self._failing: set[str] = set()
        """Endpoints whose trouble was logged."""

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number, scraped in enumerate(self._scraped):
                group.create_task(self._regularly(scraped, number / len(self._scraped)))
            if self._nvml is not None:
                group.create_task(self._read_nvml(self._nvml))

    async def _regularly(self, scraped: Scraped, part: float) -> None:
        interval_s = scraped.endpoint.interval_s
        # Spread over a second, so that many endpoints do not answer all at once.
        await asyncio.sleep(part)
        while True:
            await self.look(scraped)
            await asyncio.sleep(interval_s)

    async def look(self, scraped: Scraped) -> None:
        """Ask one endpoint once and tell the board."""
        endpoint = scraped.endpoint
        loop = asyncio.get_running_loop()
        name = clean(endpoint.url)
        try:
            status, page = await fetch(
                self._client,
                scraped.place,
                deadline=loop.time() + endpoint.timeout_s,
                max_bytes=endpoint.max_bytes,
            )
        except FairleadError as error:
            self._told(name, "failed", str(error))
            return
        if status != 200:
            self._told(name, "status", f"status {status}")
            return
        found = await understood(page, endpoint.kind)
        now = loop.time()
        if found.engine is None and not found.gpus:
            self._told(name, "unknown", "the page has no metrics that are known", found.bad_lines)
            return
        self._failing.discard(name)
        self._board.count(name, "ok", found.bad_lines)
        if found.engine is not None and endpoint.target is not None:
            self._board.engine((endpoint.target,), found.engine, now, configured=True)
        if found.gpus:
            self._board.gpus(name, found.gpus, now, fresh_s=3 * endpoint.interval_s)

    async def _read_nvml(self, reader: Reader) -> None:
        while True:
            found = await reader.read()
            if found is None:
                self._told(_NVML, "failed", "the GPU driver does not answer")
            elif found:
                self._failing.discard(_NVML)
                self._board.count(_NVML, "ok")
                self._board.gpus(_NVML, found, asyncio.get_running_loop().time())
            else:
                self._board.count(_NVML, "unknown")  # said why, once, by `nvml`
            await asyncio.sleep(_NVML_EVERY_S)

    def _told(self, name: str, outcome: str, why: str, bad_lines: int = 0) -> None:
        """Count trouble; the log has its first time."""
        self._board.count(name, outcome, bad_lines)
        if name not in self._failing:
            self._failing.add(name)
            _log.warning("metrics cannot be read", extra={"endpoint": name, "error": why})
