"""The fair queue: bounds, bands, charges, and invariants under any order of events."""

from __future__ import annotations

import math
import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fairlead.limits.fair import FairQueue, Rules
from fairlead.limits.flows import Band, Entry, Flow


def flow(*names: str, weight: float = 1.0, band: Band = Band.INTERACTIVE) -> Flow:
    return Flow(names=names, weights=(*(1.0,) * (len(names) - 1), weight), band=band)


def put(queue: FairQueue, whose: Flow, tokens: int = 10, now: float = 0.0) -> Entry:
    entry = queue.entry(whose, tokens, tokens)
    assert queue.put(entry, now) is None
    return entry


def take(queue: FairQueue, now: float = 0.0) -> Entry:
    head = queue.head(now)
    assert head is not None
    queue.take(head, now)
    return head


# --- charges -------------------------------------------------------------------------------------


def test_input_is_charged_at_dispatch_and_output_as_it_streams() -> None:
    queue, mine = FairQueue(Rules()), flow("a")
    entry = put(queue, mine, 10)
    assert queue.counter(mine) == 0
    take(queue)
    assert queue.counter(mine) == 10
    queue.stream(entry, 1)
    queue.stream(entry, 4)
    assert queue.counter(mine) == 20
    queue.finish(entry)
    assert queue.counter(mine) == 20


def test_the_end_corrects_the_charge_and_counts_once() -> None:
    queue, mine = FairQueue(Rules(cached_weight=0.5)), flow("a")
    entry = put(queue, mine, 100)
    take(queue)
    queue.stream(entry, 30)
    queue.finish(entry, input_tokens=80, cached_tokens=60, output_tokens=31)
    assert queue.counter(mine) == 20 + 60 * 0.5 + 31 * 2
    queue.finish(entry, input_tokens=1000)
    queue.stream(entry, 5)
    queue.abandon(entry)
    assert queue.counter(mine) == 112


def test_output_charged_in_advance_is_not_charged_again() -> None:
    queue, mine = FairQueue(Rules()), flow("a")
    entry = queue.entry(mine, 10, 50, advance_tokens=20)
    queue.enter(entry)
    assert queue.counter(mine) == 50
    queue.stream(entry, 15)
    assert queue.counter(mine) == 50
    queue.stream(entry, 10)
    assert queue.counter(mine) == 60
    queue.finish(entry, output_tokens=3)
    assert queue.counter(mine) == 16


def test_what_leaves_the_queue_is_charged_nothing() -> None:
    queue, mine = FairQueue(Rules()), flow("a")
    first, second = put(queue, mine), put(queue, mine)
    queue.remove(first)
    queue.remove(first)
    assert queue.waiting == 1
    assert queue.counter(mine) == 0
    assert take(queue) is second
    queue.abandon(second)
    assert queue.counter(mine) == 0
    queue.remove(second)
    assert queue.waiting == 0


# --- bounds --------------------------------------------------------------------------------------


def test_one_key_cannot_fill_the_queue() -> None:
    queue = FairQueue(Rules(max_waiting=100, max_waiting_per_key=30))
    for number in range(40):
        entry = queue.entry(flow("a"), 1, 1)
        assert queue.put(entry, 0.0) is (entry if number >= 30 else None)
    assert queue.waiting == 30


def test_a_full_queue_puts_out_the_newest_of_who_has_most() -> None:
    queue = FairQueue(Rules(max_waiting=10))
    greedy = [put(queue, flow("org", "greedy")) for _ in range(8)]
    modest = [put(queue, flow("modest", "key")) for _ in range(2)]
    newcomer = queue.entry(flow("third", "key"), 1, 1)
    assert queue.put(newcomer, 1.0) is greedy[-1]
    again = queue.entry(flow("org", "greedy"), 1, 1)
    assert queue.put(again, 1.0) is again
    assert queue.waiting == 10
    left = {take(queue) for _ in range(10)}
    assert left == {*greedy[:-1], *modest, newcomer}


def test_batch_makes_room_for_interactive_and_not_the_other_way_round() -> None:
    queue = FairQueue(Rules(max_waiting=2))
    batch = [put(queue, flow("b", band=Band.BATCH)) for _ in range(2)]
    urgent = queue.entry(flow("a"), 1, 1)
    assert queue.put(urgent, 0.0) is batch[1]
    put_out = queue.put(queue.entry(flow("a"), 1, 1), 0.0)
    assert put_out is batch[0]
    late = queue.entry(flow("b", band=Band.BATCH), 1, 1)
    assert queue.put(late, 0.0) is late


def test_idle_keys_are_not_remembered_for_ever() -> None:
    queue = FairQueue(Rules(max_keys=100))
    for number in range(2000):
        entry = queue.entry(flow("org", f"key{number}"), 1, 1)
        queue.enter(entry)
        queue.finish(entry)
    assert queue.keys <= 100


# --- bands ---------------------------------------------------------------------------------------


def test_interactive_goes_before_batch_whatever_was_served() -> None:
    queue = FairQueue(Rules())
    put(queue, flow("b", band=Band.BATCH))
    for _ in range(5):
        put(queue, flow("a"), 1000)
    assert [take(queue).flow.names[0] for _ in range(6)] == ["a"] * 5 + ["b"]


def test_a_batch_request_that_has_aged_gets_its_share_and_keeps_its_order() -> None:
    queue = FairQueue(Rules(age_s=60.0))
    old = [put(queue, flow("b", band=Band.BATCH), now=0.0) for _ in range(3)]
    young = put(queue, flow("b", band=Band.BATCH), now=30.0)
    for _ in range(20):
        put(queue, flow("a"), now=59.0)
    assert take(queue, 59.9).flow.names == ("a",)
    served = [take(queue, 60.0) for _ in range(7)]
    assert [entry for entry in served if entry in old] == old
    assert young not in served
    assert queue.waiting == 24 - 8


@given(st.integers(1, 50), st.integers(0, 1000))
def test_batch_never_starves_beside_a_flood(batches: int, seed: int) -> None:
    """A place a second, and more than that is asked for, interactively and without end."""
    chance = random.Random(seed)
    queue = FairQueue(Rules(age_s=20.0, max_waiting=10_000, max_waiting_per_key=10_000))
    waiting = [put(queue, flow("b", band=Band.BATCH)) for _ in range(batches)]
    for second in range(21 + 2 * batches + 2):
        for _ in range(chance.randint(1, 4)):
            put(queue, flow("a"), now=second)
        take(queue, second)
    # After they have aged they have half of the service.
    assert not any(entry.waits for entry in waiting)


# --- estimated waits -----------------------------------------------------------------------------


def test_no_wait_is_told_before_one_was_measured() -> None:
    queue = FairQueue(Rules())
    assert queue.wait_s(queue.entry(flow("a"), 1, 1), 0.0) is None


def test_the_estimated_wait_is_about_the_real_one() -> None:
    queue = FairQueue(Rules())
    busy, mine = flow("busy"), flow("mine")
    for _ in range(100):
        put(queue, busy, now=0.0)
    for second in range(1, 41):
        take(queue, second)  # one a second
    newcomer = queue.wait_s(queue.entry(mine, 10, 10), 40.0)
    assert newcomer is not None
    assert 1.0 <= newcomer <= 3.0
    one_more = queue.wait_s(queue.entry(busy, 10, 10), 40.0)
    assert one_more is not None
    assert 55.0 <= one_more <= 65.0
    stuck = queue.wait_s(queue.entry(mine, 10, 10), 400.0)
    assert stuck is not None
    assert stuck > 10 * newcomer


def test_nobody_waits_longer_than_everybodys_work_takes() -> None:
    queue = FairQueue(Rules())
    for _ in range(12):
        put(queue, flow("heavy"), now=0.0)
    for second in range(1, 11):
        take(queue, second)
    light = queue.wait_s(queue.entry(flow("light", weight=0.001), 10, 10), 10.0)
    assert light is not None
    assert light <= 3.5


def test_batch_waits_for_what_is_interactive_too() -> None:
    queue = FairQueue(Rules())
    for _ in range(50):
        put(queue, flow("a"), now=0.0)
    for second in range(1, 11):
        take(queue, second)
    urgent = queue.wait_s(queue.entry(flow("b"), 10, 10), 10.0)
    patient = queue.wait_s(queue.entry(flow("b", band=Band.BATCH), 10, 10), 10.0)
    assert urgent is not None
    assert patient is not None
    assert urgent < 5 < 35 < patient < 50


# --- any order of events -------------------------------------------------------------------------

FLOWS = [
    flow("org", "a"),
    flow("org", "b", weight=2.0),
    flow("other", "c", weight=0.5),
    flow("d"),
    flow("org", "a", band=Band.BATCH),
    flow("e", band=Band.BATCH),
]
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "take", "stream", "finish", "remove", "abandon"]),
        st.integers(0, len(FLOWS) - 1),
        st.integers(1, 500),
        st.integers(0, 30),
    ),
    max_size=200,
)


@given(EVENTS)
def test_nothing_is_lost_or_charged_twice(events: list[tuple[str, int, int, int]]) -> None:
    queue = FairQueue(Rules(credit=math.inf, age_s=100.0, max_waiting=20, max_waiting_per_key=10))
    waiting: list[Entry] = []
    running: list[Entry] = []
    paid: Counter[Flow] = Counter()
    streamed: Counter[Entry] = Counter()
    asked: dict[Entry, int] = {}
    now = 0.0
    for what, whose, tokens, pause in events:
        now += pause
        if what == "put":
            entry = queue.entry(FLOWS[whose], tokens, tokens)
            asked[entry] = whose
            refused = queue.put(entry, now)
            waiting.append(entry)
            if refused is not None:
                waiting.remove(refused)
                assert not refused.waits
        elif what == "take":
            head = queue.head(now)
            assert (head is None) == (not waiting), "work is conserved"
            if head is not None:
                first = next(entry for entry in waiting if asked[entry] == asked[head])
                assert head is first, "first come first served"
                queue.take(head, now)
                waiting.remove(head)
                running.append(head)
        elif what == "remove" and waiting:
            queue.remove(waiting.pop(tokens % len(waiting)))
        elif running:
            entry = running[tokens % len(running)]
            if what == "stream":
                queue.stream(entry, tokens)
                streamed[entry] += tokens
            elif what in ("finish", "abandon"):
                running.remove(entry)
                if what == "finish":
                    queue.finish(entry)
                    paid[entry.flow] += entry.input_tokens + 2 * streamed[entry]
                else:
                    queue.abandon(entry)
        assert queue.waiting == len(waiting)
        assert all(entry.waits for entry in waiting)
    for entry in running:
        queue.abandon(entry)
    for entry in waiting:
        queue.remove(entry)
    assert queue.head(now) is None
    for whose_flow in {*FLOWS, *paid}:
        weight = whose_flow.weights[-1]
        assert abs(queue.counter(whose_flow) * weight - paid[whose_flow]) < 1e-6


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 300)), min_size=1, max_size=150))
def test_the_head_is_always_of_who_had_least(turns: list[tuple[int, int]]) -> None:
    """Against a naive search, with charges of running requests between the turns."""
    queue = FairQueue(Rules())
    flat = [flow(name, weight=weight) for name, weight in (("a", 1.0), ("b", 2.0), ("c", 0.5), ("d", 3.0))]
    running: list[Entry] = []
    for whose, tokens in turns:
        put(queue, flat[whose], tokens)
        if tokens % 3 == 0:
            head = queue.head(0.0)
            assert head is not None
            waiting = [one for one in flat if queue.waiting_of(one)]
            assert queue.counter(head.flow) == min(queue.counter(one) for one in waiting)
            queue.take(head, 0.0)
            running.append(head)
        if running and tokens % 2:
            queue.stream(running[tokens % len(running)], tokens)
        if running and tokens % 5 == 0:
            queue.finish(running.pop(), input_tokens=1)
