"""Queues tell what they served and count what others did, target by target."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from fairlead.errors import StorageError
from fairlead.gateway.queue import Ask, TargetQueue, turn
from fairlead.gateway.queue_sync import QueueSync
from fairlead.limits.fair import Rules
from fairlead.limits.flows import Flow
from fairlead.limits.gossip import Served, served
from fairlead.limits.inflight import Window, WindowRules

FLOW = Flow(names=("a",), weights=(1.0,))


class Others:
    """The other gateways: what they tell, and what they were told."""

    def __init__(self) -> None:
        self.tell: list[Served] = []
        self.told: list[Served] = []
        self.gone = False

    async def exchange(self, own: Callable[[], list[Served]]) -> list[Served]:
        if self.gone:
            raise StorageError("gone")
        self.told += own()
        tell, self.tell = self.tell, []
        return tell


def queue_of(name: str) -> TargetQueue:
    return TargetQueue(name, Rules(), Window(WindowRules(max_concurrency=1)))


def serve(queue: TargetQueue, flow: Flow, tokens: int) -> None:
    place = queue.enter(Ask(flow=flow, input_tokens=tokens, expected_tokens=0), 0.0)
    assert place is not None
    queue.leave(place, 0.0)


def test_it_tells_what_each_queue_served() -> None:
    one, two = queue_of("one"), queue_of("two")
    others = Others()
    sync = QueueSync(lambda: [one, two], others)
    serve(one, FLOW, 10)
    serve(two, FLOW, 7)
    asyncio.run(sync.sync())
    assert others.told == [served("one", FLOW, 10.0), served("two", FLOW, 7.0)]
    asyncio.run(sync.sync())
    assert len(others.told) == 2


@pytest.mark.parametrize(("target", "next_is"), [("engine", "a"), ("another", "b")])
def test_who_was_served_elsewhere_by_the_same_target_waits_here(target: str, next_is: str) -> None:
    async def main() -> None:
        queue, others = queue_of("engine"), Others()
        flows = {name: Flow(names=(name,), weights=(1.0,)) for name in ("b", "a")}
        place = queue.enter(Ask(flow=FLOW, input_tokens=0, expected_tokens=0), 0.0)
        assert place is not None
        waiting = {
            name: asyncio.ensure_future(
                turn(
                    [queue],
                    Ask(flow=flow, input_tokens=1, expected_tokens=0),
                    0.0,
                    deadline=1e9,
                    max_wait_s=1e9,
                )
            )
            for name, flow in flows.items()
        }
        await asyncio.sleep(0)
        others.tell = [served(target, flows["b"], 500.0)]
        await QueueSync(lambda: [queue], others).sync()
        queue.leave(place, 0.0)
        done, left = await asyncio.wait(waiting.values(), return_when=asyncio.FIRST_COMPLETED)
        assert done == {waiting[next_is]}
        for task in left:
            task.cancel()
        await asyncio.wait(left)

    asyncio.run(main())


def test_without_an_answer_nothing_is_lost_and_nothing_fails() -> None:
    queue, others = queue_of("one"), Others()
    sync = QueueSync(lambda: [queue], others)
    serve(queue, FLOW, 10)
    others.gone = True
    asyncio.run(sync.sync())
    assert sync.failures == 1
    others.gone = False
    asyncio.run(sync.sync())
    assert others.told == [served("one", FLOW, 10.0)]
