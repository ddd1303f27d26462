"""Exports: repeated, restored, dropped and counted as the collector answers. Time does not pass."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from fairlead.telemetry.otel.collector import Reply
from fairlead.telemetry.otel.export import Complaints, LaneExport, MetricsExport
from fairlead.telemetry.otel.lane import Deferred, Lane


def runs(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is a coroutine."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class FakeCollector:
    """Answers with the given replies, then always with the last."""

    def __init__(self, *replies: Reply) -> None:
        self._replies = list(replies)
        self.got: list[tuple[str, bytes]] = []

    async def send(self, signal: str, body: bytes) -> Reply:
        self.got.append((signal, body))
        return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]


class HungCollector:
    """Never answers."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def send(self, signal: str, body: bytes) -> Reply:
        self.asked.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError("cancelled before")


FINE = Reply(status=200)
BUSY = Reply(status=503)
DENIED = Reply(status=401, body=b"your secret is wrong")
GONE = Reply(status=0, error="connection refused")


def join(items: Sequence[bytes]) -> bytes:
    return b",".join(items)


def rejects_one(signal: str, body: bytes) -> tuple[int, str]:
    return 1, "too old"


def rejects_none(signal: str, body: bytes) -> tuple[int, str]:
    return 0, ""


def filled(*items: bytes | Deferred) -> Lane:
    lane = Lane("traces", max_items=100, max_bytes=10_000)
    for item in items:
        lane.put(item)
    return lane


def export_of(
    lane: Lane, collector: FakeCollector | HungCollector, *, now: list[float] | None = None
) -> LaneExport:
    times = now or [0.0]
    return LaneExport(
        lane, collector, join=join, rejected=rejects_none, complaints=Complaints(lambda: times[0])
    )


@runs
async def test_what_waits_is_sent_in_order() -> None:
    collector = FakeCollector(FINE)
    lane = filled(b"a", Deferred(size_bytes=1, encode=lambda: b"b"), b"c")

    assert await export_of(lane, collector).drain() == 0.0

    assert collector.got == [("traces", b"a,b,c")]
    assert (lane.exported, lane.dropped, lane.failures, len(lane)) == (3, 0, 0, 0)


@pytest.mark.parametrize("reply", [BUSY, GONE])
@runs
async def test_a_request_is_repeated_with_growing_pauses(reply: Reply) -> None:
    collector = FakeCollector(reply, reply, reply, FINE)
    lane = filled(b"a")
    export = export_of(lane, collector)

    assert [await export.drain() for _ in range(4)] == [1.0, 2.0, 4.0, 0.0]

    assert [body for _, body in collector.got] == [b"a"] * 4
    assert (lane.exported, lane.dropped, lane.failures) == (1, 0, 3)


@runs
async def test_the_pause_is_bounded_and_the_collectors_wish_counts() -> None:
    export = export_of(filled(b"a"), FakeCollector(*[BUSY] * 8, Reply(status=429, retry_after_s=45.0)))

    pauses = [await export.drain() for _ in range(9)]

    assert pauses[-2:] == [30.0, 45.0]


@runs
async def test_a_refusal_is_final() -> None:
    collector = FakeCollector(DENIED, FINE)
    lane = filled(b"a")
    export = export_of(lane, collector)

    assert await export.drain() == 1.0

    assert (lane.exported, lane.dropped, lane.failures, len(lane)) == (0, 1, 1, 0)


@runs
async def test_a_defect_in_one_item_costs_only_that_one(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> bytes:
        raise ValueError("unreadable")

    collector = FakeCollector(FINE)
    lane = filled(b"a", Deferred(size_bytes=1, encode=broken), b"c")

    await export_of(lane, collector).drain()

    assert collector.got == [("traces", b"a,c")]
    assert (lane.exported, lane.dropped) == (2, 1)
    assert "was not exported" in caplog.text


@runs
async def test_what_was_under_way_when_it_ends_is_not_lost() -> None:
    lane = filled(b"a", b"b")
    collector = HungCollector()
    task = asyncio.create_task(export_of(lane, collector).drain())
    await collector.asked.wait()

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert lane.take(9, 100) == [b"a", b"b"]


@runs
async def test_trouble_is_logged_once_a_minute_without_the_collectors_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    collector = FakeCollector(DENIED, DENIED, DENIED, FINE)
    export = export_of(filled(), collector, now=now)
    caplog.set_level(logging.WARNING)
    for later in (0.0, 59.0, 1.0, 1.0):
        now[0] += later
        export.lane.put(b"x")
        await export.drain()

    messages = [record.message for record in caplog.records]
    assert messages == [
        "the OpenTelemetry collector does not take what is exported",
        "the OpenTelemetry collector does not take what is exported",
        "the OpenTelemetry collector takes what is exported again",
    ]
    assert "secret" not in caplog.text


@runs
async def test_what_the_collector_leaves_out_of_a_request_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lane = filled(b"a", b"b")
    export = LaneExport(
        lane, FakeCollector(FINE), join=join, rejected=rejects_one, complaints=Complaints(lambda: 0.0)
    )

    await export.drain()

    assert (lane.exported, lane.rejected) == (2, 1)
    assert "rejected 1 items" in caplog.text


@runs
async def test_metrics_that_fail_come_with_the_next_export() -> None:
    totals = iter((b"1", b"2"))
    collector = FakeCollector(BUSY, FINE)
    export = MetricsExport(
        collector,
        interval_s=60,
        snapshot=lambda: next(totals),
        rejected=rejects_one,
        complaints=Complaints(lambda: 0.0),
    )

    await export.send()
    await export.send()

    assert collector.got == [("metrics", b"1"), ("metrics", b"2")]
    assert (export.failures, export.exported, export.rejected) == (1, 1, 1)
