"""Comparisons as they are made, kept and told: on a store in memory, with time as a value."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

import pytest
from tests.unit.gateway.signal_fakes import Bench
from tests.unit.gateway.test_signal_work import bench

from fairlead.gateway.signal_drift import DriftWatch
from fairlead.signals.board import Policy, Signal, Stored
from fairlead.signals.compare import packed
from fairlead.signals.db import Kept
from fairlead.signals.hashed import ID, vectors
from fairlead.types import EvaluationResult

HOUR = 3600.0
DAY = 24 * HOUR
WEEK = 7 * DAY
MONDAY = 4 * DAY + 3000 * WEEK
POLICY = Policy(window=60, least_reference=100, false_alarms_per_month=20)
OLD = ("where is my parcel {n}", "refund for order {n}", "recipe with {n} eggs")
NEW = ("my knee hurts after {n} km",)


def items(
    signal: Signal, began: float, count: int, texts: Iterable[str], *, name: str, refused: int = 0
) -> list[Kept]:
    roll = random.Random(name)
    said = [roll.choice(list(texts)).format(n=roll.randrange(10_000)) for _ in range(count)]
    rows = vectors(said) if signal != "behaviour" else [b""] * count
    return [
        Kept(
            model="m",
            signal=signal,
            embedder="" if signal == "behaviour" else ID,
            stored=Stored(
                id=f"{name}-{at}", at=began + at, user="", session=f"{name}-{at}", digest=text.encode(),
                vector=b"" if signal == "behaviour" else packed(row), marks=1 if at < refused else 0,
            ),
            example=text,
        )
        for at, (text, row) in enumerate(zip(said, rows, strict=True))
    ]  # fmt: skip


class Watching:
    """A watch whose clock is turned by hand."""

    def __init__(self, made: Bench, policy: Policy = POLICY) -> None:
        self.now = MONDAY + 9.5 * HOUR
        self.results: list[EvaluationResult] = []
        made.work.embedder = ID
        self.watch = DriftWatch(
            made.work, made.store, policy, kept_per_hour=200, emit=self.results.append, now=lambda: self.now
        )

    async def look(self, after_s: float = 0.0) -> None:
        self.now += after_s
        await self.watch.look()


async def weeks(made: Bench, signal: Signal, *, refused: int = 0) -> None:
    """Four weeks of the same, at nine on Mondays."""
    for week in range(1, 5):
        began = MONDAY - week * WEEK + 9 * HOUR
        await made.store.add(items(signal, began, 100, OLD, name=f"week{week}", refused=refused))


def test_a_new_topic_is_an_alarm_with_its_requests_behind_it(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with bench() as made:
            await weeks(made, "prompt")
            watching = Watching(made)
            await made.store.add(items("prompt", watching.now - 200, 90, OLD, name="old"))
            await made.store.add(items("prompt", watching.now - 100, 30, NEW, name="new"))

            await watching.look()  # sees the series, and what it earns begins
            assert watching.watch.last == {}
            await watching.look(3 * HOUR)

            outcome = watching.watch.last["m", "prompt"]
            assert outcome.alarm
            assert (outcome.number, outcome.requests, outcome.level) == (1, 120, "hour of week")
            assert outcome.alpha == 0.05  # what is earned, at most
            topic = outcome.result.topic
            assert topic is not None
            assert topic.before == 0.0
            assert topic.share == pytest.approx(0.25) or topic.share == pytest.approx(0.5)  # or its half
            assert all(name.startswith("new-") for name in topic.examples)
            assert [(result.name, result.label) for result in watching.results] == [("prompt_drift", "drift")]
            assert watching.results[0].score is not None
            assert watching.results[0].score >= 1

            # A restart, and another gateway, know it; nobody makes it again.
            later = Watching(made)
            later.now = watching.now + HOUR
            await later.look()
            assert later.watch.last == watching.watch.last
            assert later.results == []

    with caplog.at_level("WARNING"):
        asyncio.run(main())
    assert [record.message for record in caplog.records] == ["requests or answers have changed"]


def test_the_same_as_every_monday_is_none() -> None:
    async def main() -> None:
        async with bench() as made:
            await weeks(made, "answer")
            watching = Watching(made)
            await made.store.add(items("answer", watching.now - 200, 120, OLD, name="now"))
            await watching.look()
            await watching.look(3 * HOUR)
            assert not watching.watch.last["m", "answer"].alarm
            assert watching.results[0].label == "stable"

    asyncio.run(main())


def test_more_refusals_than_before_are_an_alarm() -> None:
    async def main() -> None:
        async with bench() as made:
            await weeks(made, "behaviour", refused=2)
            watching = Watching(made)
            await made.store.add(items("behaviour", watching.now - 200, 120, OLD, name="now", refused=25))
            await watching.look()
            await watching.look(3 * HOUR)
            outcome = watching.watch.last["m", "behaviour"]
            assert outcome.alarm
            assert outcome.result.topic is not None
            assert outcome.result.topic.name == "refused"

    asyncio.run(main())


def test_nothing_is_said_before_there_is_something_to_compare_with() -> None:
    async def main() -> None:
        async with bench() as made:
            watching = Watching(made)
            await made.store.add(items("prompt", watching.now - 200, 120, OLD, name="now"))
            await watching.look()
            await watching.look(3 * HOUR)
            assert watching.watch.last == {}
            assert watching.watch.learning == {("m", "prompt"): 120}

    asyncio.run(main())


def test_few_requests_or_a_level_that_is_not_earned_wait() -> None:
    async def main() -> None:
        async with bench() as made:
            await weeks(made, "prompt")
            watching = Watching(made)
            await made.store.add(items("prompt", watching.now - 400, 60, OLD, name="now"))
            await watching.look()
            await watching.look(60)
            assert made.lab.asked == 0  # enough, but nothing is earned
            await watching.look(2 * HOUR)
            assert made.lab.asked == 1

            await made.store.add(items("prompt", watching.now - 200, 59, OLD, name="few"))
            await watching.look(3 * HOUR)
            assert made.lab.asked == 1  # earned, but too few
            await made.store.add(items("prompt", watching.now - 60, 1, OLD, name="one"))
            await watching.look()
            assert made.lab.asked == 2

    asyncio.run(main())


def test_of_two_gateways_one_makes_a_comparison() -> None:
    async def main() -> None:
        async with bench() as made:
            await weeks(made, "prompt")
            one, other = Watching(made), Watching(made)
            await made.store.add(items("prompt", one.now - 200, 120, NEW, name="now"))
            await asyncio.gather(one.look(), other.look())
            await asyncio.gather(one.look(3 * HOUR), other.look(3 * HOUR))
            assert len(one.results) + len(other.results) == 1
            assert len(await made.store.windows()) == 1

    asyncio.run(main())


def test_a_process_that_fails_leaves_the_comparison_for_later() -> None:
    async def main() -> None:
        async with bench() as made:
            await weeks(made, "prompt")
            watching = Watching(made)
            await made.store.add(items("prompt", watching.now - 200, 120, NEW, name="now"))
            await watching.look()
            made.lab.broken = True
            await watching.look(3 * HOUR)
            assert watching.watch.last == {}
            made.lab.broken = False
            await watching.look(60)
            assert watching.watch.last["m", "prompt"].alarm

    asyncio.run(main())


def test_hours_that_are_over_are_thinned_and_old_ones_go() -> None:
    async def main() -> None:
        async with bench() as made:
            watching = Watching(made, Policy(reference_days=7))
            hour = MONDAY + 5 * HOUR
            await made.store.add(items("prompt", hour, 300, OLD, name="full"))
            await made.store.add(items("prompt", MONDAY - 11 * DAY, 10, OLD, name="old"))
            await watching.look()
            left = await made.store.latest("m", "prompt", ID, 1000)
            assert len(left) == 200
            assert all(item.at >= hour for item in left)

    asyncio.run(main())
