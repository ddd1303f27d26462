"""The way of a record to the sinks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
from tests.unit.telemetry.records import record
from tests.unit.telemetry.turns import until

from fairlead.errors import StorageError
from fairlead.net.run import Run
from fairlead.telemetry.metrics.prometheus import Metrics
from fairlead.telemetry.recorder import Recorder
from fairlead.types import RequestRecord


class Store:
    """A sink that keeps what it is given, unless it is told to fail."""

    def __init__(self, journal: list[str] | None = None, name: str = "store") -> None:
        self.taken: list[str] = []
        self.written: list[str] = []
        self.commits = 0
        self.error: Exception | None = None
        self.release: asyncio.Event | None = None
        self.journal = journal if journal is not None else []
        self.name = name

    @property
    def backlog(self) -> int:
        return len(self.taken)

    def take(self, records: Iterator[RequestRecord]) -> None:
        for one in records:
            if one.model == "bad":
                raise ValueError("bad record")
            self.taken.append(one.id)
            self.journal.append(self.name)

    async def commit(self) -> None:
        self.commits += 1
        if self.release is not None:
            await self.release.wait()
        if self.error is not None:
            raise self.error
        self.written += self.taken
        self.taken.clear()


class Clock:
    """Time as a value."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def ids(start: int, stop: int) -> list[str]:
    return [record(number).id for number in range(start, stop)]


def emit(recorder: Recorder, start: int, stop: int) -> None:
    for number in range(start, stop):
        recorder.emit(record(number))


def test_every_record_reaches_every_sink_once_and_in_order() -> None:
    async def main() -> None:
        first, second = Store(), Store()
        recorder = Recorder([first, second], max_pending=10_000)
        emit(recorder, 0, 5000)
        assert recorder.pending == 5000

        assert await recorder.flush()

        assert first.written == second.written == ids(0, 5000)
        assert recorder.pending == 0

    asyncio.run(main())


def test_sinks_get_a_record_in_the_given_order() -> None:
    async def main() -> None:
        journal: list[str] = []
        recorder = Recorder([Store(journal, "ledger"), Store(journal, "metrics")], max_pending=10)
        recorder.emit(record())
        await recorder.flush()
        assert journal == ["ledger", "metrics"]

    asyncio.run(main())


def test_other_work_gets_its_turn_during_a_flush() -> None:
    async def main() -> None:
        recorder = Recorder([Store()], max_pending=100_000)
        emit(recorder, 0, 20_000)
        turns = 0
        flush = asyncio.get_running_loop().create_task(recorder.flush())
        while not flush.done():
            turns += 1
            await asyncio.sleep(0)
        assert turns > 100

    asyncio.run(main())


def test_records_emitted_during_a_flush_are_written_too() -> None:
    async def main() -> None:
        store = Store()
        recorder = Recorder([store], max_pending=10_000)
        emit(recorder, 0, 500)
        flush = asyncio.get_running_loop().create_task(recorder.flush())
        await asyncio.sleep(0)
        emit(recorder, 500, 1000)
        await flush
        await recorder.flush()
        assert store.written == ids(0, 1000)

    asyncio.run(main())


def test_a_failing_sink_keeps_its_records_and_does_not_stop_the_others() -> None:
    async def main() -> None:
        ledger, metrics = Store(), Metrics()
        ledger.error = StorageError("disk full")
        recorder = Recorder([ledger, metrics], max_pending=10_000)
        emit(recorder, 0, 100)
        assert not await recorder.flush()
        emit(recorder, 100, 200)
        assert not await recorder.flush()
        assert recorder.pending == 200
        requests = next(f for f in metrics.families() if f.name == "fairlead_requests_total")
        assert requests.series[0].value == 200

        ledger.error = None

        assert await recorder.flush()
        assert ledger.written == ids(0, 200)
        assert recorder.pending == 0

    asyncio.run(main())


def test_admission_is_told_when_records_have_no_place() -> None:
    async def main() -> None:
        ledger = Store()
        ledger.error = StorageError("down")
        recorder = Recorder([ledger], max_pending=100)
        emit(recorder, 0, 60)
        await recorder.flush()
        assert not recorder.behind
        emit(recorder, 60, 100)
        assert recorder.behind, "60 wait in the sink and 40 have not been taken"
        recorder.emit(record(100))  # still taken: its request is under way

        ledger.error = None
        await recorder.flush()

        assert not recorder.behind
        assert len(ledger.written) == 101

    asyncio.run(main())


def test_a_failing_sink_is_asked_again_later_and_later() -> None:
    async def main() -> None:
        ledger, clock = Store(), Clock()
        ledger.error = StorageError("down")
        recorder = Recorder([ledger], max_pending=100, clock=clock)
        pauses = []
        last = clock.now
        for _ in range(1000):
            before = ledger.commits
            await recorder._pass(force=False)
            if ledger.commits > before:
                pauses.append(clock.now - last)
                last = clock.now
            clock.now += 0.125
        assert pauses[:8] == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0]
        assert max(pauses) == 30.0

    asyncio.run(main())


def test_failures_are_logged_once_a_minute_and_the_end_of_them_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        ledger, clock = Store(), Clock()
        ledger.error = StorageError("disk full")
        recorder = Recorder([ledger], max_pending=100, clock=clock)
        for _ in range(130):
            await recorder.flush()
            clock.now += 1.0
        errors = [entry for entry in caplog.records if entry.levelno == logging.ERROR]
        assert len(errors) == 3
        assert vars(errors[0])["error"] == "disk full"
        assert errors[0].exc_info is None

        ledger.error = None
        for _ in range(3):
            await recorder.flush()
        assert [entry.levelname for entry in caplog.records].count("WARNING") == 1

    asyncio.run(main())


def test_an_unexpected_error_of_a_sink_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        ledger = Store()
        ledger.error = RuntimeError("a bug")
        recorder = Recorder([ledger], max_pending=100)
        recorder.emit(record())
        assert not await recorder.flush()
        assert caplog.records[0].exc_info is not None
        ledger.error = None
        assert await recorder.flush()
        assert len(ledger.written) == 1

    asyncio.run(main())


def test_a_record_that_a_sink_cannot_take_costs_only_itself(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        first, second = Store(), Metrics()
        recorder = Recorder([first, second], max_pending=100)
        for number in range(10):
            recorder.emit(record(number, model="bad" if number in (3, 4, 9) else "small"))
        assert await recorder.flush()
        assert first.written == ids(0, 3) + ids(5, 9)
        requests = next(f for f in second.families() if f.name == "fairlead_requests_total")
        assert sum(series.value for series in requests.series) == 10
        assert len(caplog.records) == 3

    asyncio.run(main())


def test_stop_writes_what_is_left() -> None:
    async def main() -> None:
        store = Store()
        recorder = Recorder([store], max_pending=10_000)
        recorder.start()
        emit(recorder, 0, 1000)
        assert await recorder.stop() == 0
        assert store.written == ids(0, 1000)

    asyncio.run(main())


def test_stop_waits_for_the_batch_under_way() -> None:
    async def main() -> None:
        store = Store()
        store.release = asyncio.Event()
        recorder = Recorder([store], max_pending=10_000, interval_s=0.0001)
        emit(recorder, 0, 10)
        recorder.start()
        await until(lambda: store.commits)
        emit(recorder, 10, 20)
        stop = asyncio.get_running_loop().create_task(recorder.stop())
        await asyncio.sleep(0)
        store.release.set()
        assert await stop == 0
        assert store.written == ids(0, 20)

    asyncio.run(main())


def test_stop_gives_up_on_a_sink_that_stays_down_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        store = Store()
        store.error = StorageError("down")
        recorder = Recorder([store], max_pending=100)
        recorder.start()
        emit(recorder, 0, 7)
        assert await recorder.stop(timeout_s=0.001) == 7
        assert any("could not be written" in entry.message for entry in caplog.records)

    asyncio.run(main())


def test_the_background_task_flushes_by_itself() -> None:
    async def main() -> None:
        store = Store()
        recorder = Recorder([store], max_pending=100, interval_s=0.0001)
        recorder.start()
        emit(recorder, 0, 3)
        await until(lambda: not recorder.pending)
        assert store.written == ids(0, 3)
        await recorder.stop()

    asyncio.run(main())


def test_a_record_can_be_emitted_while_its_request_is_being_cancelled() -> None:
    async def main() -> None:
        store = Store()
        recorder = Recorder([store], max_pending=100)

        async def request() -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                recorder.emit(record())

        run = Run(request(), lambda _run, _error: None)
        run.start()
        run.cancel()
        await asyncio.sleep(0)
        await recorder.flush()
        assert store.written == ids(0, 1)

    asyncio.run(main())


def test_a_cancelled_flush_loses_nothing() -> None:
    async def main() -> None:
        store = Store()
        recorder = Recorder([store], max_pending=10_000)
        emit(recorder, 0, 5000)
        flush = asyncio.get_running_loop().create_task(recorder.flush())
        for _ in range(5):
            await asyncio.sleep(0)
        flush.cancel()
        await asyncio.wait([flush])
        assert flush.cancelled()
        assert await recorder.flush()
        assert store.written == ids(0, 5000)

    asyncio.run(main())
