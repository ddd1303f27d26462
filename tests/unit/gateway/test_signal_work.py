"""From a sampled request to counts, evaluation results and kept items."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.unit.gateway.signal_fakes import Bench
from tests.unit.gateway.test_signal_turn import CHAT_ANSWER, USER, chat, sampled

from fairlead.errors import StorageUnusable, UpstreamUnreachable
from fairlead.signals.db import Kept, SignalStore
from fairlead.signals.questions import Sampled
from fairlead.storage.connect import open_database


@asynccontextmanager
async def bench(**options: object) -> AsyncIterator[Bench]:
    database = await open_database(":memory:")
    try:
        yield Bench(SignalStore(database), **options)
    finally:
        await database.close()


def on_bench(
    **options: object,
) -> Callable[[Callable[[Bench], Coroutine[Any, Any, None]]], Callable[[], None]]:
    def decorate(scenario: Callable[[Bench], Coroutine[Any, Any, None]]) -> Callable[[], None]:
        def test() -> None:
            async def main() -> None:
                async with bench(**options) as made:
                    await asyncio.wait_for(scenario(made), 20)

            asyncio.run(main())

        test.__name__ = scenario.__name__
        return test

    return decorate


def answering(text: str, number: int = 0, finish: str = "stop", **more: Any) -> Sampled:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
    one = sampled(chat(USER, user="u1"), CHAT_ANSWER | {"choices": [choice]}, **more)
    return Sampled(**{name: getattr(one, name) for name in one.__struct_fields__} | {"id": f"req_{number}"})


@on_bench()
async def test_an_answer_is_counted_told_and_kept(made: Bench) -> None:
    made.work.offer(answering("I'm sorry, but I can't help with that.", finish="length"))

    await made.work.work()
    await made.work.keep()

    tally = made.work.tally
    assert tally.sampled == {("m", "measured"): 1}
    assert tally.refusals == {("m", "inability"): 1}
    assert tally.truncated == {("m",): 1}
    told = {result.name: (result.score, result.label) for result in made.results}
    assert told == {
        "refusal": (1.0, "inability"), "truncation": (1.0, "truncated"), "repetition": (0.0, "ordinary"),
    }  # fmt: skip
    assert {(result.request_id, result.response_id, result.model) for result in made.results} == {
        ("req_0", "c1", "m")
    }
    (prompt,) = await made.store.latest("m", "prompt", "hashed-2/256", 5)
    (behaviour,) = await made.store.latest("m", "behaviour", "", 5)
    assert (len(prompt.vector), prompt.marks, behaviour.vector, behaviour.marks) == (256, 3, b"", 3)
    assert prompt.user == behaviour.user != ""
    assert await made.store.examples("m", "prompt", ["req_0"]) == {"req_0": "Where is it?"}
    assert made.work.embedder == "hashed-2/256"


@on_bench(max_waiting=2)
async def test_what_finds_no_room_is_dropped_and_counted(made: Bench) -> None:
    for number in range(5):
        made.work.offer(answering("Hi", number))
    assert made.work.waiting == 2

    await made.work.work()

    assert made.work.tally.sampled == {("m", "dropped"): 3, ("m", "measured"): 2}
    assert made.work.waiting == 0


@on_bench()
async def test_bytes_are_bounded_too(made: Bench) -> None:
    for number in range(4):
        made.work.offer(answering("x" * 10_000_000, number))

    assert made.work.waiting == 3
    assert made.work.tally.sampled == {("m", "dropped"): 1}


@on_bench()
async def test_a_process_that_fails_costs_measurements_and_nothing_else(made: Bench) -> None:
    made.lab.broken = True
    made.work.offer(answering("Hi"))
    await made.work.work()
    made.lab.broken = False
    made.work.offer(answering("Hi", 1))
    made.work.offer(sampled({"model": "m"}))

    await made.work.work()

    assert made.work.tally.sampled == {("m", "failed"): 1, ("m", "measured"): 1, ("m", "unreadable"): 1}


class Failing(SignalStore):
    """A store that is away."""

    def __init__(self) -> None:
        self.away = True
        self.items: list[Kept] = []

    async def add(self, items: Sequence[Kept]) -> None:
        if self.away:
            raise StorageUnusable("away")
        self.items += items


def test_items_wait_for_a_store_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        store = Failing()
        made = Bench(store)
        for number in range(3):
            made.work.offer(answering("Hi", number))
        await made.work.work()
        await made.work.keep()
        await made.work.keep()
        store.away = False
        await made.work.keep()
        assert sorted(item.stored.id for item in store.items if item.signal == "behaviour") == [
            "req_0",
            "req_1",
            "req_2",
        ]
        assert made.work.tally.stored == {("kept",): 9}

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert len(caplog.records) == 1  # one a minute


class Embedder:
    """A model of the gateway that makes vectors, or does not."""

    id = "route@1"

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.away = False

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        if self.away:
            raise UpstreamUnreachable("away")
        self.texts += texts
        return [[1.0, 0.0] for _ in texts]


def test_a_model_of_the_gateway_makes_the_vectors() -> None:
    async def main() -> None:
        embedder = Embedder()
        async with bench(embeds=embedder) as made:
            made.work.offer(answering("Hello"))
            await made.work.work()
            embedder.away = True
            made.work.offer(answering("Hello", 1))
            await made.work.work()
            await made.work.keep()
            assert embedder.texts == ["Where is it?", "Hello"]
            assert [item.id for item in await made.store.latest("m", "answer", "route@1", 5)] == ["req_0"]
            # What was measured of the other is kept all the same.
            assert len(await made.store.latest("m", "behaviour", "", 5)) == 2
            assert made.work.tally.stored == {("kept",): 4, ("lost",): 2}

    asyncio.run(main())


@on_bench()
async def test_it_runs_in_the_background_until_it_is_cancelled(made: Bench) -> None:
    task = asyncio.create_task(made.work.run())
    made.work.offer(answering("Hi"))
    while not made.work.tally.sampled:  # noqa: ASYNC110 - turns of the loop, not time
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert made.work.tally.sampled == {("m", "measured"): 1}
