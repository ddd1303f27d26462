"""Replicas hear of each service once, whatever is lost or repeated on the way, and are fair together."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import StorageError
from fairlead.limits.fair import FairQueue, Rules
from fairlead.limits.flows import Band, Flow
from fairlead.limits.gossip import Gossip, Heard, Served, served
from fairlead.storage.redis import RedisServer, Script

A = Flow(names=("a", "key"), weights=(1.0, 1.0))
B = Flow(names=("b",), weights=(2.0,), band=Band.BATCH)


class Stream:
    """A server with one stream, whose answers can be lost. `run` is `RedisServer.run`."""

    name = "fake"

    def __init__(self) -> None:
        self.entries: list[list[bytes]] = []
        self.lost = 0
        self.down = False
        self.calls = 0

    def run(
        self, script: Script, keys: Sequence[str], args: Sequence[str | bytes | int] = ()
    ) -> asyncio.Future[object]:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.calls += 1
        if self.down:
            future.set_exception(StorageError("down"))
            return future
        replica, sequence, payload, read_to = args[:4]
        assert isinstance(payload, bytes)
        if payload:
            last = int(self.entries[-1][0].split(b"-")[0]) if self.entries else 0
            self.entries.append([b"%d-0" % (last + 1), str(replica).encode(), b"%d" % int(sequence), payload])
        if self.lost:
            self.lost -= 1
            future.set_exception(StorageError("no answer"))
            return future
        newest = self.entries[-1][0] if self.entries else b"0-0"
        after = -1 if read_to == "" else int(str(read_to).split("-")[0])
        found = [] if read_to == "" else [one for one in self.entries if int(one[0].split(b"-")[0]) > after]
        future.set_result([newest, found])
        return future


def gossip(stream: Stream, replica: str, clock: Callable[[], float] = lambda: 0.0) -> Gossip:
    return Gossip(cast(RedisServer, stream), replica=replica, monotonic=clock)


def telling(*what: Served) -> Callable[[], list[Served]]:
    left = list(what)

    def own() -> list[Served]:
        told = left[:]
        left.clear()
        return told

    return own


def test_each_hears_the_others_once_and_never_itself() -> None:
    async def main() -> None:
        stream = Stream()
        one, two = gossip(stream, "one"), gossip(stream, "two")
        nothing = telling()
        assert await one.exchange(nothing) == await two.exchange(nothing) == []
        assert await one.exchange(telling(served("engine", A, 30.0))) == []
        heard = await two.exchange(telling(served("engine", B, -5.0)))
        assert heard == [Served("engine", ("a", "key"), (1.0, 1.0), 0, 30.0)]
        assert heard[0].flow() == A
        assert [one.flow() for one in await one.exchange(nothing)] == [B]
        assert await one.exchange(nothing) == await two.exchange(nothing) == []

    asyncio.run(main())


def test_nothing_is_written_when_there_is_nothing_to_tell() -> None:
    async def main() -> None:
        stream = Stream()
        one = gossip(stream, "one")
        for _ in range(3):
            await one.exchange(telling())
        assert stream.entries == []
        assert stream.calls == 3

    asyncio.run(main())


def test_who_comes_late_does_not_hear_of_what_was_before() -> None:
    async def main() -> None:
        stream = Stream()
        await gossip(stream, "one").exchange(telling(served("engine", A, 1.0)))
        late = gossip(stream, "late")
        assert await late.exchange(telling()) == []
        assert await late.exchange(telling()) == []

    asyncio.run(main())


def test_a_message_without_an_answer_is_repeated_as_it_was_and_counted_once() -> None:
    async def main() -> None:
        stream = Stream()
        one, two = gossip(stream, "one"), gossip(stream, "two")
        await two.exchange(telling())
        stream.lost = 2
        first, second = telling(served("engine", A, 1.0)), telling(served("engine", A, 2.0))
        for _ in range(2):
            with pytest.raises(StorageError):
                await one.exchange(first)
        await one.exchange(second)
        await one.exchange(second)
        assert len(stream.entries) == 4
        assert [one.cost for one in await two.exchange(telling())] == [1.0, 2.0]

    asyncio.run(main())


def test_what_could_not_be_told_for_long_is_forgotten() -> None:
    async def main() -> None:
        stream, time = Stream(), [0.0]
        one, two = gossip(stream, "one", lambda: time[0]), gossip(stream, "two")
        await one.exchange(telling())
        await two.exchange(telling())
        stream.down = True
        with pytest.raises(StorageError):
            await one.exchange(telling(served("engine", A, 1.0)))
        stream.down = False
        time[0] = 60.0
        meanwhile = telling(served("engine", A, 1000.0))
        await one.exchange(meanwhile)
        await one.exchange(telling(served("engine", A, 3.0)))
        assert [one.cost for one in await two.exchange(telling())] == [3.0]

    asyncio.run(main())


def test_a_server_that_lost_everything_and_whose_clock_went_back_is_heard_again() -> None:
    async def main() -> None:
        stream = Stream()
        one, two = gossip(stream, "one"), gossip(stream, "two")
        await two.exchange(telling())
        for cost in range(5):
            await one.exchange(telling(served("engine", A, float(cost + 1))))
        assert len(await two.exchange(telling())) == 5
        stream.entries.clear()
        await one.exchange(telling(served("engine", A, 7.0)))
        await two.exchange(telling())
        await one.exchange(telling(served("engine", A, 8.0)))
        assert [one.cost for one in await two.exchange(telling())] == [8.0]

    asyncio.run(main())


@pytest.mark.parametrize(
    "payload",
    [b"\xc1", b"\x91\x01", b"\x91\x95\xa1e\x90\x90\x00\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", b"\x90"],
)
def test_a_message_that_is_none_does_no_harm(payload: bytes) -> None:
    async def main() -> None:
        stream = Stream()
        two = gossip(stream, "two")
        await two.exchange(telling())
        stream.entries.append([b"1-0", b"other", b"1", payload])
        heard: list[Served] = []
        try:
            heard = await two.exchange(telling())
        except StorageError:
            pass
        assert heard == []
        stream.entries.append([b"2-0", b"other", b"2", _encoded(served("engine", A, 4.0))])
        assert [one.cost for one in await two.exchange(telling())] == [4.0]

    asyncio.run(main())


def _encoded(one: Served) -> bytes:
    import msgspec

    return msgspec.msgpack.encode([one])


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(1, 20))))
def test_a_sequence_is_new_once(messages: list[tuple[str, int]]) -> None:
    heard, counted = Heard(), set()
    for message in messages:
        if heard.is_new(*message):
            assert message not in counted
            counted.add(message)


# --- fair together -------------------------------------------------------------------------------


@given(
    st.integers(0, 10_000),
    st.integers(2, 4),
    st.integers(1, 40),
    st.integers(1, 200),
    st.sampled_from([1.0, 3.0]),
)
def test_replicas_together_keep_the_bound_and_what_is_served_in_two_rounds(
    seed: int, replicas: int, rounds_apart: int, longest: int, weight: float
) -> None:
    """Two tenants wait everywhere. Replicas take turns at random, and hear of each other one round late.

    Whoever serves the one that is ahead knows of all but what was served in this round and the last. So
    the gap grows only within that; at other times everybody narrows it.
    """
    chance = random.Random(seed)
    flows = [Flow(names=(name,), weights=(own,)) for name, own in (("f", weight), ("g", 1.0))]
    queues = [FairQueue(Rules(max_waiting=10**6, max_waiting_per_key=10**6)) for _ in range(replicas)]
    service = dict.fromkeys(flows, 0.0)
    on_the_way: list[tuple[int, Flow, float]] = []
    in_rounds = [0.0]
    before = 0.0
    speeds = [chance.choice([1, 1, 10]) for _ in queues]
    for queue in queues:
        for flow in flows:
            queue.put(queue.entry(flow, chance.randint(1, longest), 0), 0.0)
    for step in range(rounds_apart * 12):
        (number,) = chance.choices(range(replicas), speeds)
        queue = queues[number]
        entry = queue.head(0.0)
        assert entry is not None
        # Who is served goes on waiting with another request.
        queue.put(queue.entry(entry.flow, chance.randint(1, longest), 0), 0.0)
        queue.take(entry, 0.0)
        queue.finish(entry)
        service[entry.flow] += entry.input_tokens / entry.flow.weights[0]
        in_rounds[-1] += entry.input_tokens
        gap = abs(service[flows[0]] - service[flows[1]])
        assert gap <= max(before, 2 * longest + sum(in_rounds[-2:]))
        before = gap
        if step % rounds_apart == rounds_apart - 1:
            for teller, flow, cost in on_the_way:
                for hearer, other in enumerate(queues):
                    if hearer != teller:
                        other.hear(flow, cost)
            on_the_way = [(teller, *told) for teller, one in enumerate(queues) for told in one.served()]
            in_rounds.append(0.0)


def test_a_replica_makes_up_for_what_another_could_not() -> None:
    """`f` reaches only the first of two replicas, `g` both: together they have the same service."""
    f, g = Flow(names=("f",), weights=(1.0,)), Flow(names=("g",), weights=(1.0,))
    first, second = queues = [
        FairQueue(Rules(max_waiting=10**6, max_waiting_per_key=10**6)) for _ in range(2)
    ]
    service = {f: 0, g: 0}
    for queue, flow in ((first, f), (first, g), (second, g)):
        queue.put(queue.entry(flow, 10, 0), 0.0)
    for step in range(1000):
        queue = queues[step % 2]
        entry = queue.head(0.0)
        assert entry is not None
        queue.put(queue.entry(entry.flow, 10, 0), 0.0)
        queue.take(entry, 0.0)
        queue.finish(entry)
        service[entry.flow] += 10
        if step % 10 == 9:
            told = [one.served() for one in queues]
            for flow, cost in told[1]:
                first.hear(flow, cost)
            for flow, cost in told[0]:
                second.hear(flow, cost)
    assert abs(service[f] - service[g]) <= 200


def test_what_was_heard_is_not_told_again_and_changes_no_weight() -> None:
    one, two = FairQueue(Rules()), FairQueue(Rules())
    mine = Flow(names=("a",), weights=(2.0,))
    entry = one.entry(mine, 100, 0)
    one.enter(entry)
    one.stream(entry, 10)
    assert one.served() == [(mine, 120.0)]
    assert one.served() == []
    one.finish(entry, input_tokens=60, output_tokens=10)
    assert one.served() == [(mine, -40.0)]
    two.enter(two.entry(Flow(names=("a",), weights=(1.0,)), 1, 0))
    two.served()
    two.hear(mine, 120.0)
    two.hear(mine, -40.0)
    assert two.served() == []
    assert two.counter(Flow(names=("a",), weights=(1.0,))) == 81.0
    assert two.keys == 1
