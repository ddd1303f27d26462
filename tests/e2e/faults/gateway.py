"""The gateway as a process, looked at from an event loop that also plays its upstreams."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

import yaml
from tests.e2e.faults.wire import Wire, until
from tests.e2e.gateway import GatewayProcess, start_gateway

FAST: Final[dict[str, Any]] = {
    "breaker": {"open_s": 30},
    "retry": {"backoff_s": 0.02, "max_backoff_s": 0.05, "max_retry_after_s": 1},
}
"""Outage settings under which scenarios take as little time as possible."""


class Gateway:
    """What a test sees of a running gateway. Nothing here blocks the loop."""

    def __init__(self, process: GatewayProcess) -> None:
        self._running = process
        self.port = process.port

    @property
    def pid(self) -> int:
        return self._running.process.pid

    @property
    def log(self) -> str:
        return self._running.log

    def signal(self, number: signal.Signals) -> None:
        self._running.process.send_signal(number)

    def configure(self, config: Mapping[str, Any]) -> None:
        """Replace the configuration file; SIGHUP makes it count."""
        self._running.config_file.write_text(as_text(config))

    async def ended(self, timeout_s: float = 15.0) -> int:
        """Wait for the process to end; return its status."""
        await until(lambda: self._running.process.poll() is not None, timeout_s)
        return self._running.process.returncode

    async def logged(self, text: str, timeout_s: float = 15.0) -> None:
        """Wait until the log says `text`."""
        await until(lambda: text in self.log, timeout_s)

    async def json(self, path: str) -> Any:
        """GET a document; None for a 404."""
        async with await Wire.open(self.port) as wire:
            wire.get(path)
            await wire.end()
            assert wire.complete, f"{path}: no whole answer"
            assert wire.status in (200, 404), f"{path}: {wire.status} {wire.body!r}"
            return json.loads(wire.body) if wire.status == 200 else None

    async def record(self, request_id: str) -> Any:
        """The ledger's record of a request; records are written a moment after the answer."""

        async def look() -> Any:
            return await self.json(f"/admin/v1/requests/{request_id}")

        return (await _eventually(look))["data"]

    async def records(self, model: str, count: int = 1) -> list[Any]:
        """The newest records of a model, newest first, once there are `count`."""

        async def look() -> Any:
            listed = (await self.json(f"/admin/v1/requests?model={model}&limit={count}"))["data"]
            return listed if len(listed) >= count else None

        return [await self.record(entry["id"]) for entry in await _eventually(look)]

    async def target(self, provider: str) -> Any:
        """A target as the gateway sees it, by its provider."""
        listed = await self.json("/admin/v1/targets")
        return next(entry for entry in listed["data"] if entry["target"].partition("/")[0] == provider)

    async def state(self, provider: str, wanted: str) -> None:
        """Wait for a breaker's state."""

        async def look() -> Any:
            return (await self.target(provider))["state"] == wanted or None

        await _eventually(look)


async def _eventually(look: Callable[[], Awaitable[Any]], timeout_s: float = 15.0) -> Any:
    """What `look` gives, once that is not None."""
    async with asyncio.timeout(timeout_s):
        while (found := await look()) is None:  # noqa: ASYNC110  # another process's pace
            await asyncio.sleep(0.03)
    return found


def as_text(config: Mapping[str, Any]) -> str:
    """The text of a configuration, with keys not required and retries that suit tests."""
    return yaml.safe_dump({"auth": {"required": False}, "outages": FAST, **config})


@contextlib.contextmanager
def running(config: Mapping[str, Any], *, workers: int = 1) -> Iterator[Gateway]:
    """Run a gateway with `config` until the block ends. It must end cleanly and without a traceback."""
    with start_gateway(as_text(config), options=["--workers", str(workers)]) as process:
        yield Gateway(process)
        log, status = process.log, process.stop()
        assert status == 0, f"the gateway ended with {status}: {log[-2000:]}"
        assert "Traceback" not in log, log[-4000:]
