"""The engine on an event loop's clock, with the clock in the test's hands."""

from __future__ import annotations

import asyncio
import functools
import heapq
from collections.abc import Callable

import pytest

from fairlead.errors import ContextWindowExceeded
from fairlead.net.run import Run
from fairlead.simulate.engine import Engine, Latency, Limits
from fairlead.simulate.metrics import Metrics
from fairlead.simulate.pump import Job, Pump
from fairlead.simulate.text import Reply, Token


class ManualLoop(asyncio.AbstractEventLoop):
    """The part of an event loop that the pump uses."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: list[tuple[float, int, asyncio.TimerHandle]] = []
        self.scheduled = 0

    def time(self) -> float:
        return self.now

    def call_at(
        self, when: float, callback: Callable[..., object], *args: object, **_: object
    ) -> asyncio.TimerHandle:
        self.scheduled += 1
        handle = asyncio.TimerHandle(when, callback, args, self)
        heapq.heappush(self.due, (when, self.scheduled, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers stay in the heap and are passed over."""

    def call_soon(self, callback: Callable[..., object], *args: object, **_: object) -> asyncio.Handle:
        return self.call_at(self.now, callback)

    def get_debug(self) -> bool:
        return False

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self.due and self.due[0][0] <= until:
            when, _, handle = heapq.heappop(self.due)
            self.now = max(self.now, when)
            if not handle.cancelled():
                handle._run()
        self.now = until


def as_callback(test: Callable[[], None]) -> Callable[[], None]:
    """Run a test as a callback of an event loop: a loop runs, but no task, as in a server."""

    @functools.wraps(test)
    def wrapped() -> None:
        async def main() -> None:
            done = asyncio.get_running_loop().create_future()

            def body() -> None:
                try:
                    done.set_result(test())
                except BaseException as error:
                    done.set_exception(error)

            asyncio.get_running_loop().call_soon(body)
            await done

        asyncio.run(main())

    return wrapped


def reply(count: int) -> Reply:
    return Reply(tokens=tuple(Token("text", f"t{index}") for index in range(count)), finish="stop")


class Bench:
    def __init__(self, **limits: int) -> None:
        self.loop = ManualLoop()
        latency = Latency(base_s=1.0, per_sequence_s=0.0, per_prefill_token_s=0.0)
        self.engine = Engine(latency, Limits(**limits))
        self.metrics = Metrics("m", self.engine)
        self.pump = Pump(self.engine, self.metrics, self.loop)

    def read(self, job: Job) -> list[tuple[float, int, int]]:
        """Collect a job's tokens with the time of each, as a request handler would."""
        seen: list[tuple[float, int, int]] = []

        async def handler() -> None:
            while job.left:
                choice, index = await job.next()
                seen.append((self.loop.now, choice, index))

        Run(handler(), lambda run, error: None).start()
        return seen


@as_callback
def test_each_token_arrives_when_its_step_ends() -> None:
    bench = Bench()
    seen = bench.read(bench.pump.submit(10, (), [reply(3)]))
    bench.loop.pass_time(10)
    assert seen == [(101.0, 0, 0), (102.0, 0, 1), (103.0, 0, 2)]


@as_callback
def test_one_timer_serves_all_requests() -> None:
    bench = Bench()
    read = [bench.read(bench.pump.submit(10, (), [reply(5)])) for _ in range(50)]
    assert len(bench.loop.due) == 1
    bench.loop.pass_time(100)
    assert all(len(seen) == 5 for seen in read)
    assert bench.loop.scheduled < 10


@as_callback
def test_choices_come_interleaved() -> None:
    bench = Bench()
    seen = bench.read(bench.pump.submit(10, (), [reply(2), reply(2)]))
    bench.loop.pass_time(10)
    assert [(choice, index) for _, choice, index in seen] == [(0, 0), (0, 1), (1, 0), (1, 1)]


@as_callback
def test_leaving_frees_the_engine_and_counts_an_abort() -> None:
    bench = Bench()
    job = bench.pump.submit(10, (), [reply(9), reply(9)])
    bench.loop.pass_time(2)
    job.leave()
    assert (bench.engine.running, bench.engine.kv.used) == (0, 0)
    bench.loop.pass_time(5)
    assert bench.loop.due == []
    assert b'finished_reason="abort",model_name="m"} 2.0' in bench.metrics.render()
    job.leave()
    assert b'finished_reason="abort",model_name="m"} 2.0' in bench.metrics.render()


@as_callback
def test_a_job_that_does_not_fit_leaves_nothing_behind() -> None:
    bench = Bench(kv_tokens=64)
    with pytest.raises(ContextWindowExceeded):
        bench.pump.submit(10, (), [reply(5), reply(60)])
    assert (bench.engine.running, bench.engine.waiting) == (0, 0)


@as_callback
def test_a_waiter_may_submit_from_within_a_delivery() -> None:
    bench = Bench()
    order: list[str] = []

    async def handler() -> None:
        await bench.pump.submit(10, (), [reply(1)]).rest()
        order.append("first")
        await bench.pump.submit(10, (), [reply(1)]).rest()
        order.append("second")

    Run(handler(), lambda run, error: order.append(repr(error))).start()
    bench.loop.pass_time(10)
    assert order == ["first", "second", "None"]


@as_callback
def test_stopping_ends_the_timer() -> None:
    bench = Bench()
    bench.pump.submit(10, (), [reply(1)])
    bench.pump.stop()
    bench.loop.pass_time(5)
    assert bench.engine.running == 1
