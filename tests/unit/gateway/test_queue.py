"""Requests wait for places in fair turns, within bounds, and whoever leaves takes nothing along."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import Overloaded, QueueFull, QueueTimeout
from fairlead.gateway.queue import Ask, TargetQueue, enter, turn
from fairlead.limits.fair import Rules
from fairlead.limits.flows import Band, Entry, Flow
from fairlead.limits.inflight import EngineFacts, Window, WindowRules
from fairlead.limits.provider_rate import ProviderRate, RateFacts
from fairlead.net.run import Run

Place = tuple[TargetQueue, Entry]


def ask(name: str = "a", tokens: int = 10, *, streams: bool = True, band: Band = Band.INTERACTIVE) -> Ask:
    flow = Flow(names=(name,), weights=(1.0,), band=band)
    return Ask(flow=flow, input_tokens=tokens, expected_tokens=tokens, streams=streams)


def queue_of(places: int, name: str = "engine", *, rules: Rules | None = None) -> TargetQueue:
    return TargetQueue(name, rules or Rules(), Window(WindowRules(max_concurrency=places)))


def scenario(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


async def settle() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


def now() -> float:
    return asyncio.get_running_loop().time()


def waiting_for(
    *queues: TargetQueue, what: Ask | None = None, max_wait_s: float = 1000.0
) -> asyncio.Task[Place]:
    later = now() + 1000.0
    coroutine = turn(queues, what or ask(), now(), deadline=later, max_wait_s=max_wait_s)
    return asyncio.get_running_loop().create_task(coroutine)


def held(queue: TargetQueue, count: int, what: Ask | None = None) -> list[Entry]:
    places = [queue.enter(what or ask("holder"), 0.0) for _ in range(count)]
    assert all(places)
    return [place for place in places if place is not None]


def test_who_finds_room_enters_at_once_and_the_next_waits_for_the_place() -> None:
    async def main() -> None:
        queue = queue_of(1)
        assert queue.open(now())
        (place,) = held(queue, 1)
        assert not queue.open(now())
        assert queue.enter(ask(), now()) is None
        waiting = waiting_for(queue)
        await settle()
        assert queue.waiting == 1
        queue.leave(place, now())
        queue.leave(place, now())  # a second time changes nothing
        given, entry = await waiting
        assert given is queue
        assert (queue.waiting, queue.window.in_flight) == (0, 1)
        queue.leave(entry, now())
        assert queue.window.in_flight == queue.window.in_flight_tokens == 0

    scenario(main)


def test_nobody_overtakes_who_waits_even_when_there_is_room_for_it() -> None:
    async def main() -> None:
        queue = TargetQueue("engine", Rules(), Window(WindowRules(first_tokens=100, first_requests=100)))
        (place,) = held(queue, 1, ask(tokens=30))
        large = waiting_for(queue, what=ask(tokens=40))
        await settle()
        assert not queue.open(now())
        assert queue.enter(ask(tokens=1), now()) is None
        queue.leave(place, now())
        await large

    scenario(main)


def test_turns_are_fair_between_tenants() -> None:
    async def main() -> None:
        queue = queue_of(1)
        (place,) = held(queue, 1)
        order: list[str] = []
        tasks = [waiting_for(queue, what=ask("greedy")) for _ in range(6)]
        tasks += [waiting_for(queue, what=ask("modest")) for _ in range(2)]
        await settle()
        for _ in tasks:
            queue.leave(place, now())
            await settle()
            (done,) = (task for task in tasks if task.done() and task.result()[1].leaf is not None)
            place = done.result()[1]
            order.append(place.flow.names[0])
        assert order[:4].count("modest") == 2

    scenario(main)


def test_streamed_tokens_count_against_the_next_turn() -> None:
    async def main() -> None:
        queue = queue_of(2)
        talkative, brief = held(queue, 1, ask("talkative"))[0], held(queue, 1, ask("brief"))[0]
        queue.tokens(talkative, 500)
        first, other, second = (
            waiting_for(queue, what=ask(name)) for name in ("brief", "talkative", "brief")
        )
        await settle()
        queue.leave(brief, now(), output_tokens=1)
        await settle()
        assert first.done()
        queue.leave(first.result()[1], now(), output_tokens=1)
        await settle()
        assert second.done()
        assert not other.done(), "it came earlier and has had much"
        queue.leave(talkative, now(), input_tokens=10, cached_tokens=5, output_tokens=500)
        await other

    scenario(main)


def test_a_request_takes_the_first_place_of_any_target_and_leaves_the_other_lines() -> None:
    async def main() -> None:
        left, right = queue_of(1, "left"), queue_of(1, "right")
        held(left, 1)
        (place,) = held(right, 1)
        waiting = waiting_for(left, right)
        await settle()
        assert (left.waiting, right.waiting) == (1, 1)
        right.leave(place, now())
        assert (await waiting)[0] is right
        assert (left.waiting, right.waiting) == (0, 0)
        assert left.window.in_flight == 1

    scenario(main)


def test_when_the_first_leaves_a_line_those_behind_it_may_fit() -> None:
    async def main() -> None:
        left = TargetQueue("left", Rules(), Window(WindowRules(first_tokens=100, first_requests=9)))
        right = queue_of(1, "right")
        held(left, 1, ask(tokens=20))
        (place,) = held(right, 1)
        large = waiting_for(left, right, what=ask("large", 60))
        small = waiting_for(left, what=ask("small", 10))
        await settle()
        assert not small.done()
        right.leave(place, now())
        assert (await large)[0] is right
        assert (await small)[0] is left

    scenario(main)


def test_enter_takes_the_first_target_with_room() -> None:
    async def main() -> None:
        left, right = queue_of(1, "left"), queue_of(1, "right")
        held(left, 1)
        found = enter([left, right], ask(), now())
        assert found is not None
        assert found[0] is right
        assert enter([left, right], ask(), now()) is None

    scenario(main)


# --- leaving --------------------------------------------------------------------------------------


def test_who_is_cancelled_leaves_every_line() -> None:
    async def main() -> None:
        left, right = queue_of(1, "left"), queue_of(1, "right")
        (place,), _ = held(left, 1), held(right, 1)
        leaving, staying = waiting_for(left, right), waiting_for(left)
        await settle()
        leaving.cancel()
        await asyncio.wait([leaving])
        assert (left.waiting, right.waiting) == (1, 0)
        left.leave(place, now())
        await staying

    scenario(main)


def test_a_place_given_to_who_is_cancelled_at_that_moment_goes_on() -> None:
    async def main() -> None:
        queue = queue_of(1)
        (place,) = held(queue, 1)
        leaving, staying = waiting_for(queue), waiting_for(queue)
        await settle()
        queue.leave(place, now())
        leaving.cancel()
        await asyncio.wait([leaving])
        assert leaving.cancelled()
        await staying
        assert (queue.waiting, queue.window.in_flight) == (0, 1)

    scenario(main)


def test_a_place_is_not_given_to_who_was_cancelled_a_moment_ago() -> None:
    """A Run that is cancelled learns of it in the loop's next round."""

    async def main() -> None:
        queue = queue_of(1)
        (place,) = held(queue, 1)
        ends: list[BaseException | None] = []

        async def request() -> None:
            await turn([queue], ask(), now(), deadline=now() + 100, max_wait_s=100)

        runs = [Run(request(), lambda _run, error: ends.append(error)) for _ in range(300)]
        for run in runs:
            run.start()
        staying = waiting_for(queue)
        await settle()
        for run in runs:
            run.cancel()
        queue.leave(place, now())
        await settle()
        assert len(ends) == 300
        assert all(isinstance(error, asyncio.CancelledError) for error in ends)
        assert staying.done()
        assert (queue.waiting, queue.window.in_flight) == (0, 1)

    scenario(main)


def test_a_run_gets_its_turn_too() -> None:
    async def main() -> None:
        queue = queue_of(1)
        (place,) = held(queue, 1)
        given: list[Entry] = []

        async def request() -> None:
            given.append((await turn([queue], ask(), now(), deadline=now() + 100, max_wait_s=100))[1])

        ends: list[BaseException | None] = []
        Run(request(), lambda _run, error: ends.append(error)).start()
        queue.leave(place, now())
        await settle()
        assert ends == [None]
        assert len(given) == 1

    scenario(main)


def test_what_was_not_carried_out_costs_nothing() -> None:
    async def main() -> None:
        queue = queue_of(1, rules=Rules(credit=0.0))
        place = held(queue, 1, ask("a", 1000))[0]
        waiting = {name: waiting_for(queue, what=ask(name)) for name in ("a", "b")}
        await settle()
        queue.give_back(place, now())
        await settle()
        assert waiting["a"].done(), "it has had nothing, and came first"
        waiting["b"].cancel()
        await asyncio.wait([waiting["b"]])

    scenario(main)


# --- refusals -------------------------------------------------------------------------------------


def test_a_full_line_refuses_with_a_wait() -> None:
    async def main() -> None:
        queue = queue_of(1, rules=Rules(max_waiting_per_key=2))
        held(queue, 1)
        tasks = [waiting_for(queue) for _ in range(2)]
        await settle()
        with pytest.raises(QueueFull, match="wait for engine already") as refused:
            await turn([queue], ask(), now(), deadline=now() + 100, max_wait_s=100)
        assert refused.value.status == 429
        assert refused.value.retry_after_s is not None
        assert isinstance(refused.value, Overloaded)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert queue.waiting == 0

    scenario(main)


def test_who_has_most_is_put_out_for_who_has_none() -> None:
    async def main() -> None:
        queue = queue_of(1, rules=Rules(max_waiting=3))
        held(queue, 1)
        greedy = [waiting_for(queue, what=ask("greedy")) for _ in range(3)]
        await settle()
        modest = waiting_for(queue, what=ask("modest"))
        await settle()
        assert isinstance(greedy[2].exception(), QueueFull)
        assert queue.waiting == 3
        for task in (*greedy[:2], modest):
            task.cancel()
        await asyncio.wait([*greedy, modest])

    scenario(main)


def test_who_is_put_out_of_one_line_still_waits_in_the_other() -> None:
    async def main() -> None:
        left, right = queue_of(1, "left", rules=Rules(max_waiting=1)), queue_of(1, "right")
        held(left, 1)
        (place,) = held(right, 1)
        batch = waiting_for(left, right, what=ask("b", band=Band.BATCH))
        await settle()
        urgent = waiting_for(left)
        await settle()
        assert not batch.done()
        right.leave(place, now())
        assert (await batch)[0] is right
        urgent.cancel()
        await asyncio.wait([urgent])

    scenario(main)


@pytest.mark.parametrize(
    ("deadline_s", "max_wait_s", "message"),
    [(-1.0, 100.0, "within its deadline"), (100.0, 0.0, "within the 0 s that are allowed")],
)
def test_the_clients_deadline_and_the_longest_wait_end_the_wait(
    deadline_s: float, max_wait_s: float, message: str
) -> None:
    async def main() -> None:
        queue = queue_of(1)
        held(queue, 1)
        with pytest.raises(QueueTimeout, match=message) as late:
            await turn([queue], ask(), now(), deadline=now() + deadline_s, max_wait_s=max_wait_s)
        assert late.value.retry_after_s is not None
        assert (queue.waiting, queue.window.in_flight) == (0, 1)

    scenario(main)


def test_a_hopeless_wait_is_refused_at_once_and_told_honestly() -> None:
    async def main() -> None:
        queue = queue_of(1)
        (place,) = held(queue, 1)
        tasks = [waiting_for(queue) for _ in range(50)]
        await settle()
        for second in range(1, 11):  # a place a second
            queue.leave(place, now() + second)
            await settle()
            (place,) = (one.result()[1] for one in tasks if one.done() and one.result()[1].leaf is not None)
        at = now() + 10
        with pytest.raises(QueueFull, match=r"estimated wait of 4\d s is longer than the 5 s") as refused:
            await turn([queue], ask(), at, deadline=at + 5, max_wait_s=1000)
        assert refused.value.retry_after_s == pytest.approx(41, abs=3)
        # Another target of which nothing is known may be quick.
        unknown = queue_of(1)
        held(unknown, 1)
        with pytest.raises(QueueTimeout):
            await turn([queue, unknown], ask(), at, deadline=now(), max_wait_s=1000)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    scenario(main)


# --- what the target shows ------------------------------------------------------------------------


def test_a_grown_window_lets_the_next_in() -> None:
    async def main() -> None:
        queue = TargetQueue("engine", Rules(), Window(WindowRules(first_requests=1)))
        held(queue, 1)
        waiting = waiting_for(queue)
        await settle()
        assert not waiting.done()
        queue.saw(EngineFacts(running=1, waiting=0, kv_usage=0.1), now())
        await waiting

    scenario(main)


def test_a_providers_rate_paces_requests_and_the_queue_wakes_itself() -> None:
    async def main() -> None:
        rate, start = ProviderRate(), now()
        queue = TargetQueue("provider", Rules(), Window(WindowRules(first_requests=100)), rate)
        # At this rate what is missing is there before the loop's next round, and at `start` it is not.
        rate.learn(start, tokens=RateFacts(limit=6e12, remaining=20))
        assert queue.enter(ask(), start) is not None
        assert queue.open(start)
        assert queue.enter(ask(), start) is None
        await turn([queue], ask(), start, deadline=start + 1000, max_wait_s=1000)
        assert queue.window.in_flight == 2

    scenario(main)


def test_a_429_closes_the_queue() -> None:
    async def main() -> None:
        rate = ProviderRate()
        queue = TargetQueue("provider", Rules(), Window(WindowRules()), rate)
        queue.limited(60.0, now())
        assert not queue.open(now())
        assert queue.enter(ask(), now()) is None
        waiting = waiting_for(queue)
        await settle()
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])

    scenario(main)


def test_a_provider_that_tells_of_more_room_lets_the_next_in() -> None:
    async def main() -> None:
        queue = TargetQueue("provider", Rules(), Window(WindowRules()), ProviderRate())
        start = now()
        queue.told(RateFacts(limit=60, remaining=0), None, start)
        waiting = waiting_for(queue)
        await settle()
        assert not waiting.done()
        queue.told(RateFacts(limit=60, remaining=60), None, start)
        await waiting

    scenario(main)


def test_an_engine_has_no_rate() -> None:
    async def main() -> None:
        queue = queue_of(1)
        queue.told(RateFacts(limit=60, remaining=0), None, now())
        queue.limited(60.0, now())
        assert queue.open(now())

    scenario(main)


def test_an_answer_that_does_not_stream_is_charged_in_advance() -> None:
    async def main() -> None:
        queue = TargetQueue("engine", Rules(), Window(WindowRules(first_requests=1)))
        held(queue, 1)
        whole = [waiting_for(queue, what=ask("whole", streams=False)) for _ in range(2)]
        streamed = [waiting_for(queue, what=ask("streamed")) for _ in range(2)]
        await settle()
        for _ in range(2):  # one more place, then two more
            queue.saw(EngineFacts(running=1, waiting=0), now())
        await settle()
        assert [task.done() for task in (*whole, *streamed)] == [True, False, True, True]
        whole[1].cancel()
        await asyncio.wait(whole)

    scenario(main)


# --- any order of events --------------------------------------------------------------------------

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["come", "come", "cancel", "leave", "give back", "grow", "settle"]),
        st.integers(0, 10**6),
    ),
    max_size=60,
)


@given(EVENTS)
def test_no_place_is_lost_and_none_is_given_twice(events: list[tuple[str, int]]) -> None:
    async def main() -> None:
        queues = [queue_of(2, "left", rules=Rules(max_waiting=4)), queue_of(1, "right")]
        ends: dict[Run, BaseException | None] = {}
        places: dict[int, Place] = {}

        async def request(number: int, lines: list[TargetQueue]) -> None:
            flow = ask(f"tenant{number % 3}", 1 + number % 50)
            limit = now() + 1000
            places[number] = await turn(lines, flow, now(), deadline=limit, max_wait_s=1000)

        runs: list[Run] = []
        for what, number in events:
            if what == "come":
                lines = [queues[: 1 + number % 2], queues[1:]][number % 3 == 0]
                run = Run(request(len(runs) + number * 1000, lines), ends.__setitem__)
                runs.append(run)
                run.start()
            elif what == "cancel" and runs:
                runs[number % len(runs)].cancel()
            elif what in ("leave", "give back") and places:
                queue, place = places.pop(list(places)[number % len(places)])
                (queue.leave if what == "leave" else queue.give_back)(place, now())
            elif what == "grow":
                queues[number % 2].saw(EngineFacts(running=1, waiting=0), now())
            else:
                await settle()
            for queue in queues:
                assert queue.window.in_flight <= 2
        await settle()
        assert sum(queue.window.in_flight for queue in queues) == len(places)
        # Whoever still waits is served when the others leave.
        for _ in range(len(runs) + 1):
            for queue, place in places.values():
                queue.leave(place, now())
            places.clear()
            await settle()
        assert len(ends) == len(runs)
        assert all(
            error is None or isinstance(error, (asyncio.CancelledError, QueueFull)) for error in ends.values()
        )
        for queue in queues:
            assert (queue.waiting, queue.window.in_flight, queue.window.in_flight_tokens) == (0, 0, 0)

    scenario(main)
