"""A Run takes its first step at once, is resumed in the stack of a fire, and can be cancelled anywhere."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from fairlead.net.run import Run, Signal


class Ends:
    """Collects how runs end."""

    def __init__(self) -> None:
        self.seen: list[BaseException | None] = []

    def __call__(self, run: Run, error: BaseException | None) -> None:
        self.seen.append(error)


def launch(coroutine: Coroutine[Any, Any, None]) -> tuple[Run, Ends]:
    ends = Ends()
    run = Run(coroutine, ends)
    run.start()
    return run, ends


def in_loop(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await asyncio.wait_for(scenario(), 5)

    asyncio.run(main())


def test_without_a_wait_it_ends_in_start() -> None:
    async def work() -> None:
        return None

    _, ends = launch(work())
    assert ends.seen == [None]


def test_a_fire_resumes_it_in_the_same_stack() -> None:
    signal, steps = Signal(), []

    async def work() -> None:
        for number in range(3):
            await signal
            steps.append(number)

    _, ends = launch(work())
    for expected in ([0], [0, 1], [0, 1, 2]):
        signal.fire()
        assert steps == expected
    assert ends.seen == [None]


def test_a_fire_without_a_waiter_is_remembered_once() -> None:
    signal, steps = Signal(), []
    signal.fire()
    signal.fire()

    async def work() -> None:
        await signal
        steps.append(1)
        await signal
        steps.append(2)

    launch(work())
    assert steps == [1]
    signal.fire()
    assert steps == [1, 2]


def test_a_cleared_fire_is_forgotten() -> None:
    signal, steps = Signal(), []
    signal.fire()
    signal.clear()

    async def work() -> None:
        await signal
        steps.append(1)

    run, _ = launch(work())
    assert steps == []
    run.cancel()


def test_cancelling_raises_where_it_waits_and_cleans_up() -> None:
    signal, cleaned = Signal(), []

    async def work() -> None:
        try:
            await signal
        finally:
            cleaned.append(True)

    run, ends = launch(work())
    run.cancel()
    assert cleaned == [True]
    assert isinstance(ends.seen[0], asyncio.CancelledError)
    signal.fire()  # nobody waits any more


def test_cancelling_from_its_own_stack_is_raised_at_the_next_wait() -> None:
    signal, seen = Signal(), []
    runs: list[Run] = []

    async def work() -> None:
        await signal
        runs[0].cancel()
        seen.append("still here")
        await signal
        seen.append("never")

    run, ends = launch(work())
    runs.append(run)
    signal.fire()
    assert seen == ["still here"]
    assert isinstance(ends.seen[0], asyncio.CancelledError)


def test_it_awaits_futures_tasks_and_sleep() -> None:
    async def scenario() -> None:
        async def task() -> int:
            async with asyncio.timeout(1):
                await asyncio.sleep(0)
            return 7

        results: list[object] = []
        done = asyncio.Event()

        async def work() -> None:
            results.append(await asyncio.get_running_loop().create_task(task()))
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)
            future = asyncio.get_running_loop().create_future()
            future.set_exception(ValueError("told"))
            with pytest.raises(ValueError, match="told"):
                await future
            done.set()

        _, ends = launch(work())
        await done.wait()
        assert results == [7]
        assert ends.seen == [None]

    in_loop(scenario)


def test_cancelling_while_a_task_is_awaited_cancels_the_task() -> None:
    async def scenario() -> None:
        inner = asyncio.get_running_loop().create_task(asyncio.sleep(60))

        async def work() -> None:
            await inner

        run, ends = launch(work())
        run.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert inner.cancelled()
        assert isinstance(ends.seen[0], asyncio.CancelledError)

    in_loop(scenario)


def test_a_signal_wakes_a_task_too() -> None:
    async def scenario() -> None:
        signal, steps = Signal(), []

        async def work() -> None:
            await signal
            steps.append(1)
            await signal
            steps.append(2)

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        signal.fire()
        await asyncio.sleep(0)
        assert steps == [1]
        signal.fire()
        await task
        assert steps == [1, 2]

    in_loop(scenario)


def test_a_task_that_waits_for_a_signal_can_be_cancelled_and_the_signal_used_again() -> None:
    async def scenario() -> None:
        signal = Signal()

        async def work() -> None:
            await signal

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        again = asyncio.create_task(work())
        await asyncio.sleep(0)
        signal.fire()
        await again

    in_loop(scenario)


def test_an_error_of_the_coroutine_is_handed_over() -> None:
    async def work() -> None:
        raise ValueError("broken")

    _, ends = launch(work())
    assert isinstance(ends.seen[0], ValueError)
