"""The first committed answer wins; every other is closed; the share of hedges is bounded."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from fairlead.gateway.attempt import AttemptFailed, UpstreamCall
from fairlead.gateway.hedge import HedgeShare, race
from fairlead.gateway.router import Target
from fairlead.types import Failure, FailureKind

FIRST, SECOND = cast("Target", "first"), cast("Target", "second")
"""A race passes targets on and looks at nothing of them."""


class Stage:
    """Attempts that end when they are told to."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.ends: dict[Target, asyncio.Future[UpstreamCall]] = {
            FIRST: loop.create_future(),
            SECOND: loop.create_future(),
        }
        self.both = asyncio.Event()
        self.asked: list[tuple[Target, bool]] = []
        self.cancelled: list[Target] = []
        self.discarded: list[UpstreamCall] = []

    async def attempt(self, target: Target, hedged: bool) -> UpstreamCall:
        self.asked.append((target, hedged))
        if len(self.asked) == 2:
            self.both.set()
        try:
            return await self.ends[target]
        except asyncio.CancelledError:
            self.cancelled.append(target)
            raise

    def answer(self, target: Target) -> None:
        self.ends[target].set_result(cast("UpstreamCall", f"answer of {target}"))

    def fail(self, target: Target) -> None:
        failure = Failure(kind=FailureKind.CUT, message=str(target))
        self.ends[target].set_exception(AttemptFailed(failure))

    def race(self, second: Target | None = SECOND) -> asyncio.Task[UpstreamCall]:
        contest = race(self.attempt, FIRST, lambda: second, self.discarded.append, 0.0)
        return asyncio.get_running_loop().create_task(contest)


def on_stage(scenario: Callable[[Stage], Awaitable[None]]) -> None:
    async def main() -> None:
        await asyncio.wait_for(scenario(Stage()), 5)

    asyncio.run(main())


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def both_asked(stage: Stage) -> None:
    await stage.both.wait()
    await settle()


def test_the_second_wins_and_the_first_is_cancelled() -> None:
    async def scenario(stage: Stage) -> None:
        task = stage.race()
        await both_asked(stage)
        stage.answer(SECOND)
        assert await task == "answer of second"
        await settle()
        assert stage.asked == [(FIRST, False), (SECOND, True)]
        assert stage.cancelled == [FIRST]
        assert stage.discarded == []

    on_stage(scenario)


def test_of_two_answers_at_once_one_is_closed() -> None:
    async def scenario(stage: Stage) -> None:
        task = stage.race()
        await both_asked(stage)
        stage.answer(FIRST)
        stage.answer(SECOND)
        winner = await task
        assert len(stage.discarded) == 1
        assert {winner, *stage.discarded} == {"answer of first", "answer of second"}

    on_stage(scenario)


def test_a_failure_leaves_the_other_running() -> None:
    async def scenario(stage: Stage) -> None:
        task = stage.race()
        await both_asked(stage)
        stage.fail(FIRST)
        await settle()
        stage.answer(SECOND)
        assert await task == "answer of second"

    on_stage(scenario)


def test_when_both_fail_the_last_failure_is_told() -> None:
    async def scenario(stage: Stage) -> None:
        task = stage.race()
        await both_asked(stage)
        stage.fail(SECOND)
        await settle()
        stage.fail(FIRST)
        with pytest.raises(AttemptFailed, match="first"):
            await task

    on_stage(scenario)


def test_without_a_second_target_the_first_is_waited_for() -> None:
    async def scenario(stage: Stage) -> None:
        task = stage.race(second=None)
        await settle()
        stage.answer(FIRST)
        assert await task == "answer of first"
        assert stage.asked == [(FIRST, False)]

    on_stage(scenario)


def test_a_client_that_leaves_cancels_both() -> None:
    async def scenario(stage: Stage) -> None:
        task = stage.race()
        await both_asked(stage)
        task.cancel()
        await asyncio.wait({task})
        await settle()
        assert set(stage.cancelled) == {FIRST, SECOND}

    on_stage(scenario)


def test_hedges_stay_within_their_share() -> None:
    share = HedgeShare()
    hedged = 0
    for _ in range(1000):
        share.requested()
        if share.allows(0.05):
            share.hedged()
            hedged += 1
    assert 1 <= hedged <= 50
