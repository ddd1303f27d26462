"""Questions that are asked again, and what that may cost."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import msgspec
import pytest
from tests.unit.gateway.signal_fakes import SETUP, Bench
from tests.unit.gateway.test_signal_turn import CHAT_ANSWER, USER, chat, sampled
from tests.unit.gateway.test_signal_work import bench

from fairlead.config import SignalReasks
from fairlead.errors import UpstreamUnreachable
from fairlead.gateway.internal import Internal, Reply
from fairlead.gateway.signal_reask import Reasks, again
from fairlead.signals.questions import Sampled

DAY = "1970-01-02"
NOW = 86_400.0


class Models:
    """The gateway as its own client; answers by plan."""

    def __init__(self, *plan: str | None, cost: int | None = 100) -> None:
        self.plan = list(plan)
        self.cost = cost
        self.bodies: list[dict[str, Any]] = []

    async def ask(self, model: str, api: str, body: bytes, *, timeout_s: float, extra: bytes = b"") -> Reply:
        self.bodies.append(json.loads(body))
        text = self.plan.pop(0)
        if text is None:
            raise UpstreamUnreachable("away")
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        return Reply(body=json.dumps(CHAT_ANSWER | {"choices": [choice]}).encode(), cost_microusd=self.cost)


def asked(cost: int | None = 100, **more: Any) -> Sampled:
    return msgspec.structs.replace(sampled(chat(USER, **more)), cost_microusd=cost)


async def ask(made: Bench, models: Models, one: Sampled, *, usd: float = 1.0, roll: float = 0.0) -> Reasks:
    reasks = Reasks(
        SignalReasks(usd_per_day=usd, share=0.5, times=3), lambda: cast(Internal, models), made.store, SETUP,
        roll=lambda: roll, emit=made.results.append, now=lambda: NOW,
    )  # fmt: skip
    reasks.consider(made.work, one)
    await asyncio.gather(*reasks._tasks)
    return reasks


def test_answers_are_compared_and_paid_for() -> None:
    async def main() -> None:
        async with bench() as made:
            models = Models("hello", "Hello!", "Bye")
            await ask(made, models, asked(stream=True, stream_options={"include_usage": True}))

            assert models.bodies == [chat(USER)] * 3
            tally = made.work.tally
            assert tally.asked_again == {("m", "measured"): 1}
            assert tally.agreement == {("m",): 750}
            assert tally.reask_microusd == {("m",): 300}
            assert await made.store.spent(DAY) == 300
            (result,) = made.results
            assert (result.name, result.score, result.label) == ("consistency", 0.75, "2 of 4 by text")

    asyncio.run(main())


def test_money_is_reserved_before_and_a_failed_question_counts_as_paid() -> None:
    async def main() -> None:
        async with bench() as made:
            await ask(made, Models(None, "Hello", None), asked(cost=100))
            assert await made.store.spent(DAY) == 150 + 100 + 150
            assert made.work.tally.asked_again == {("m", "measured"): 1}

            models = Models("Hello", "Hello", "Hello")
            await ask(made, models, asked(cost=100), usd=0.000_800)
            assert models.bodies == []  # 400 are spent, and 450 would be reserved
            assert made.work.tally.asked_again["m", "spent"] == 1
            assert await made.store.spent(DAY) == 400

    asyncio.run(main())


def test_no_cap_holds_for_what_has_no_price() -> None:
    async def main() -> None:
        async with bench() as made:
            models = Models("Hello", "Hello", "Hello", cost=0)
            await ask(made, models, asked(cost=None))
            assert models.bodies == []
            assert made.work.tally.asked_again == {("m", "unpriced"): 1}
            await ask(made, models, asked(cost=0), usd=0)
            assert len(models.bodies) == 3

    asyncio.run(main())


def test_chance_decides() -> None:
    async def main() -> None:
        async with bench() as made:
            models = Models()
            await ask(made, models, asked(), roll=0.5)
            assert models.bodies == []
            assert made.work.tally.asked_again == {}

    asyncio.run(main())


def test_a_few_at_a_time() -> None:
    async def main() -> None:
        async with bench() as made:
            reasks = Reasks(
                SignalReasks(usd_per_day=1, share=1, times=1), lambda: cast(Internal, Models()),
                made.store, SETUP, roll=lambda: 0.0, emit=None, now=lambda: NOW,
            )  # fmt: skip
            for _ in range(7):
                reasks.consider(made.work, asked())
            assert made.work.tally.asked_again == {("m", "busy"): 3}
            await reasks.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("api", "more"),
    [
        ("chat", {"store": True}),
        ("chat", {"n": 2}),
        ("responses", {}),
        ("responses", {"store": False, "previous_response_id": "r"}),
        ("responses", {"store": False, "background": True}),
    ],
)
def test_what_would_leave_something_behind_is_not_asked_again(api: str, more: dict[str, Any]) -> None:
    assert again(sampled(chat(USER, **more), api=api)) is None


def test_what_leaves_nothing_behind_is() -> None:
    assert again(sampled(chat(USER, store=False), api="responses")) is not None
    assert again(sampled(chat(USER, store=False))) is not None
