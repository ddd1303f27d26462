"""Takes each request's record at once and hands it to the sinks in batches.

Rules: `emit` is synchronous, costs an append and cannot fail, because it also
runs while a cancellation is under way. Nothing is dropped: what a sink cannot
write yet stays with it and is tried again; `behind` tells admission to refuse
new requests before memory runs out. Work is done in slices of a fraction of a
millisecond, with the event loop's turn between, so that no request waits for
the telemetry of others.

A sink `take`s records without waiting (it counts or encodes them) and
`commit`s what it holds. Sinks do not wait for each other's failures: while the
ledger is unreachable, metrics go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from fairlead.errors import StorageError
from fairlead.types import RequestRecord

_log: Final = logging.getLogger(__name__)

_SLICE: Final = 96
"""Records taken between two turns of the event loop: about 0.3 ms with every sink on."""
_COMMIT_EVERY: Final = 2048
"""Records taken before what the sinks hold is committed: one transaction, about 10 ms on its thread."""
_FIRST_BACKOFF_S: Final = 0.5
_LONGEST_BACKOFF_S: Final = 30.0
_LOG_EVERY_S: Final = 60.0


class Sink(Protocol):
    """Where records end up."""

    @property
    def backlog(self) -> int:
        """Records taken and not yet committed."""
        ...

    def take(self, records: Iterator[RequestRecord]) -> None:
        """Take every record of the iterator, without waiting.

        When one makes it raise, it is called again with the same iterator and
        so goes on with the next.
        """
        ...

    async def commit(self) -> None:
        """Write what was taken. After a StorageError, or a cancellation, it is called again."""
        ...


class _Lane:
    """A sink and how its last commits went."""

    __slots__ = ("failures", "logged_at", "reported", "retry_at", "sink")

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.failures = 0
        self.retry_at = 0.0
        self.logged_at: float | None = None
        self.reported = False


class Recorder:
    """The way of every record from the request to the sinks."""

    def __init__(
        self,
        sinks: Sequence[Sink],
        *,
        max_pending: int,
        interval_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Collect for `sinks`, which get each record in this order.

        Args:
            sinks: where records go; the recorder owns their calls.
            max_pending: records not yet written at which `behind` turns true.
            interval_s: seconds between flushes.
            clock: for back-off and the rate of log lines.
        """
        self.max_pending = max_pending
        self._lanes = [_Lane(sink) for sink in sinks]
        self._interval_s = interval_s
        self._clock = clock
        self._emitted: list[RequestRecord] = []
        self._backlog = 0
        self._lock = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def emit(self, record: RequestRecord) -> None:
        """Take one record. Never fails, never waits, may be called at any time."""
        self._emitted.append(record)

    @property
    def pending(self) -> int:
        """Records not yet written everywhere."""
        return len(self._emitted) + self._backlog

    @property
    def behind(self) -> bool:
        """True when new requests should be refused because their records have no place."""
        return len(self._emitted) + self._backlog >= self.max_pending

    def start(self) -> None:
        """Flush in the background from now on."""
        assert self._task is None, "started once"
        self._task = asyncio.get_running_loop().create_task(self._flush_regularly(), name="recorder")

    async def flush(self) -> bool:
        """Write everything emitted so far now, whatever the back-off; True when all of it is written."""
        async with self._lock:
            await self._pass(force=True)
        return self.pending == 0

    async def stop(self, timeout_s: float = 10.0) -> int:
        """End the background task and write what is left, trying again for `timeout_s`.

        Returns the number of records that could not be written; it is logged.
        """
        self._stopping.set()
        try:
            async with asyncio.timeout(timeout_s):
                if self._task is not None:
                    await self._task
                while not await self.flush():  # noqa: ASYNC110  # a pause between tries, not a wait for an event
                    await asyncio.sleep(_FIRST_BACKOFF_S)
        except TimeoutError:
            _log.error("stopped with records that could not be written", extra={"records": self.pending})
        self._task = None
        return self.pending

    async def _flush_regularly(self) -> None:
        while not self._stopping.is_set():
            try:
                await asyncio.wait_for(self._stopping.wait(), self._interval_s)
            except TimeoutError:
                async with self._lock:
                    await self._pass(force=False)

    async def _pass(self, *, force: bool) -> None:
        """Hand everything emitted to the sinks; commit as it goes and at the end."""
        emitted = self._emitted
        since_commit = 0
        while emitted:
            batch = emitted[:_SLICE]
            del emitted[: len(batch)]
            for lane in self._lanes:
                _feed(lane.sink, batch)
            self._count_backlog()
            since_commit += len(batch)
            if since_commit >= _COMMIT_EVERY:
                since_commit = 0
                await self._commit(force=force)
            else:
                await asyncio.sleep(0)
        await self._commit(force=force)

    async def _commit(self, *, force: bool) -> None:
        for lane in self._lanes:
            if force or self._clock() >= lane.retry_at:
                await self._commit_one(lane)
        self._count_backlog()

    async def _commit_one(self, lane: _Lane) -> None:
        try:
            await lane.sink.commit()
        except Exception as error:  # this is the supervisor of every sink; nothing else would log it
            lane.failures += 1
            now = self._clock()
            pause_s = _FIRST_BACKOFF_S * 2 ** min(lane.failures - 1, 16)
            lane.retry_at = now + min(pause_s, _LONGEST_BACKOFF_S)
            if lane.logged_at is None or now - lane.logged_at >= _LOG_EVERY_S:
                lane.logged_at = now
                lane.reported = True
                _log.error(
                    "records cannot be written; they are kept and tried again",
                    exc_info=None if isinstance(error, StorageError) else error,
                    extra={
                        "sink": type(lane.sink).__name__,
                        "error": str(error),
                        "records": lane.sink.backlog,
                        "failures": lane.failures,
                    },
                )
            return
        lane.failures = 0
        lane.retry_at = 0.0
        if lane.reported:
            lane.reported = False
            _log.warning("records are written again", extra={"sink": type(lane.sink).__name__})

    def _count_backlog(self) -> None:
        self._backlog = max((lane.sink.backlog for lane in self._lanes), default=0)


def _feed(sink: Sink, batch: list[RequestRecord]) -> None:
    """Give the whole batch to one sink; a record it cannot take costs only itself."""
    records = iter(batch)
    while True:
        try:
            sink.take(records)
            return
        except Exception:  # a defect in one record must not stop those of every other request
            _log.exception("a record was not taken", extra={"sink": type(sink).__name__})
