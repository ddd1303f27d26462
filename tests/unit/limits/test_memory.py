"""The store in process, alone and against an obvious oracle."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.limits.made import NOW_US, Clock, budget, places, requests, tokens
from tests.unit.limits.oracle import HOUR_US, Oracle

from fairlead.limits.memory import Changes, KeptCell, MemoryStore, Reservation
from fairlead.limits.quota import Admitted, Ask, Limit, Refused, State, What

ALL = (requests(6), tokens(600, burst=900), budget(1000), places(3))


def admitted(answer: Admitted | Refused) -> Admitted:
    assert isinstance(answer, Admitted), answer
    return answer


def refused(answer: Admitted | Refused) -> Refused:
    assert isinstance(answer, Refused), answer
    return answer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock)


def state(store: MemoryStore, limit: Limit) -> State:
    (found,) = store.look([limit])
    return found


# --- one limit after another ----------------------------------------------------------------------


def test_a_rate_admits_its_burst_and_says_exactly_when_the_next_fits(
    store: MemoryStore, clock: Clock
) -> None:
    limit = requests(6)
    for number in range(6):
        admitted(store.admit(f"r{number}", [Ask(limit, 1)], 60))

    answer = refused(store.admit("r6", [Ask(limit, 1)], 60))

    assert answer.retry_after_s == 10.0
    assert (answer.state.used, answer.state.remaining) == (6, 0)
    clock.forward(9.999)
    refused(store.admit("r6", [Ask(limit, 1)], 60))
    clock.forward(0.001)
    admitted(store.admit("r6", [Ask(limit, 1)], 60))


def test_tokens_are_settled_to_what_was_used(store: MemoryStore) -> None:
    limit = tokens(600)
    admitted(store.admit("a", [Ask(limit, 500)], 60))

    (after,) = store.settle("a", {limit.id: 100})

    assert (after.used, after.remaining) == (100, 500)


def test_more_than_was_reserved_is_charged_as_debt(store: MemoryStore, clock: Clock) -> None:
    limit = tokens(600)
    admitted(store.admit("a", [Ask(limit, 500)], 60))
    (after,) = store.settle("a", {limit.id: 900})

    assert (after.used, after.remaining) == (900, 0)
    assert refused(store.admit("b", [Ask(limit, 300)], 60)).retry_after_s == 60.0
    clock.forward(60)
    admitted(store.admit("b", [Ask(limit, 300)], 60))


def test_settling_twice_changes_nothing(store: MemoryStore) -> None:
    limit = budget(1000)
    admitted(store.admit("a", [Ask(limit, 400)], 60))
    store.settle("a", {limit.id: 300})

    assert store.settle("a", {limit.id: 300}) == ()
    store.release("a")
    assert (state(store, limit).used, state(store, limit).reserved) == (300, 0)


def test_a_cost_above_the_ceiling_is_never_admitted(store: MemoryStore) -> None:
    for limit in (requests(1), tokens(600), budget(1000), places(1)):
        answer = refused(store.admit("a", [Ask(limit, limit.ceiling + 1)], 60))
        assert answer.retry_after_s is None


def test_a_budget_counts_what_is_reserved_and_ends_with_its_window(store: MemoryStore, clock: Clock) -> None:
    limit = budget(1000)
    admitted(store.admit("a", [Ask(limit, 700)], 7200))

    answer = refused(store.admit("b", [Ask(limit, 301)], 60))

    assert (answer.state.used, answer.state.reserved, answer.state.remaining) == (0, 700, 300)
    assert answer.retry_after_s == 2800.0  # 22:13:20 to 23:00
    clock.forward(2800)
    admitted(store.admit("b", [Ask(limit, 1000)], 60))


def test_a_reservation_is_charged_to_the_window_it_was_made_in(store: MemoryStore, clock: Clock) -> None:
    limit = budget(1000)
    admitted(store.admit("a", [Ask(limit, 700)], 7200))
    clock.forward(3000)

    store.settle("a", {limit.id: 650})

    assert (state(store, limit).used, state(store, limit).reserved) == (0, 0)


def test_places_are_held_until_settled_released_or_expired(store: MemoryStore, clock: Clock) -> None:
    limit = places(3)
    for name in ("a", "b", "c"):
        admitted(store.admit(name, [Ask(limit, 1)], 60))
    refused(store.admit("d", [Ask(limit, 1)], 60))

    store.settle("a", {})
    assert state(store, limit).used == 2
    store.release("b")
    assert state(store, limit).used == 1
    clock.forward(60)
    assert state(store, limit).used == 0


# --- many at once ---------------------------------------------------------------------------------


def test_nothing_is_taken_when_one_of_many_refuses(store: MemoryStore) -> None:
    full = places(1, node="team")
    admitted(store.admit("a", [Ask(full, 1)], 60))

    refused(store.admit("b", [*[Ask(limit, 1) for limit in ALL], Ask(full, 1)], 60))

    assert [one.used + one.reserved for one in store.look(ALL)] == [0, 0, 0, 0]
    assert store.settle("b", {}) == ()


def test_the_refusal_told_is_the_one_that_lasts_longest(store: MemoryStore) -> None:
    minute, hour = tokens(600), budget(1000)
    admitted(store.admit("a", [Ask(minute, 600), Ask(hour, 1000)], 7200))

    assert refused(store.admit("b", [Ask(minute, 1), Ask(hour, 1)], 60)).state.limit is hour
    assert refused(store.admit("b", [Ask(hour, 1), Ask(minute, 601)], 60)).state.limit is minute


def test_a_shadow_limit_refuses_nothing_takes_nothing_and_tells(store: MemoryStore) -> None:
    shadow, real = tokens(600, shadow=True), requests(6)
    admitted(store.admit("a", [Ask(shadow, 500), Ask(real, 1)], 60))

    answer = admitted(store.admit("b", [Ask(shadow, 200), Ask(real, 1)], 60))

    assert [one.state.limit for one in answer.shadowed] == [shadow]
    assert [one.used for one in answer.states] == [500, 2]
    store.settle("b", {shadow.id: 200})
    assert state(store, shadow).used == 500


def test_admitting_an_open_request_again_takes_nothing_again(store: MemoryStore) -> None:
    limit = budget(1000)
    first = admitted(store.admit("a", [Ask(limit, 800)], 60))

    again = admitted(store.admit("a", [Ask(limit, 800)], 60))

    assert again == first


# --- expiry ---------------------------------------------------------------------------------------


def test_an_expired_reservation_leaves_no_phantom(store: MemoryStore, clock: Clock) -> None:
    asks = [Ask(limit, 1) for limit in ALL]
    admitted(store.admit("a", asks, 5))
    clock.forward(5)

    after = dict(zip([limit.what for limit in ALL], store.look(ALL), strict=True))

    assert after[What.REQUESTS].used == 1  # it was made; half a request has refilled, rounded up
    assert [after[what].used for what in (What.TOKENS, What.USD, What.CONCURRENT)] == [0, 0, 0]
    assert after[What.USD].reserved == 0


def test_a_late_settlement_charges_once(store: MemoryStore, clock: Clock) -> None:
    money, used = budget(1000), tokens(600)
    admitted(store.admit("a", [Ask(money, 500), Ask(used, 300), Ask(places(3), 1)], 5))
    clock.forward(6)

    store.settle("a", {money.id: 400, used.id: 250})
    store.settle("a", {money.id: 400, used.id: 250})

    assert state(store, money).used == 400
    assert state(store, used).used == 250
    assert state(store, places(3)).used == 0


def test_a_trace_of_an_expired_reservation_lasts_an_hour(store: MemoryStore, clock: Clock) -> None:
    limit = budget(1000, window="day")
    for name in ("a", "b"):
        admitted(store.admit(name, [Ask(limit, 300)], 5))
    clock.forward(3604)

    assert store.settle("a", {limit.id: 200}) != ()
    clock.forward(1)
    assert store.settle("b", {limit.id: 200}) == ()


def test_an_id_that_is_admitted_again_after_its_expiry_is_settled_once(
    store: MemoryStore, clock: Clock
) -> None:
    limit = budget(1000)
    admitted(store.admit("a", [Ask(limit, 500)], 5))
    clock.forward(6)
    admitted(store.admit("a", [Ask(limit, 500)], 5))

    store.settle("a", {limit.id: 300})
    store.settle("a", {limit.id: 300})

    assert state(store, limit).used == 300


# --- changes of the configuration ---------------------------------------------------------------------


def test_a_changed_amount_applies_to_what_was_used_before(store: MemoryStore) -> None:
    admitted(store.admit("a", [Ask(budget(1000), 900)], 60))
    store.settle("a", {budget(1000).id: 900})

    answer = refused(store.admit("b", [Ask(budget(800), 1)], 60))

    assert (answer.state.used, answer.state.limit.amount) == (900, 800)


def test_a_reservation_is_settled_at_the_rate_it_was_made_at(store: MemoryStore) -> None:
    before, after = tokens(600), tokens(60)
    admitted(store.admit("a", [Ask(before, 600)], 60))
    store.look([after])

    store.settle("a", {before.id: 0})

    assert state(store, after).used == 0


# --- what is kept -----------------------------------------------------------------------------------


def test_idle_limits_are_forgotten(store: MemoryStore, clock: Clock) -> None:
    for number in range(5000):
        limit = requests(60, node=f"key:{number}")
        admitted(store.admit(f"r{number}", [Ask(limit, 1)], 60))
        store.settle(f"r{number}", {})
        clock.forward(1)

    assert len(store._cells) <= 1024


def test_the_queue_of_expiries_is_as_long_as_there_are_open_requests(store: MemoryStore) -> None:
    for number in range(5000):
        admitted(store.admit(f"r{number}", [Ask(places(3), 1)], 3600))
        store.settle(f"r{number}", {})

    assert len(store._due) < 200


def kept(*changes: Changes) -> tuple[dict[str, KeptCell], dict[str, Reservation], int]:
    """What somebody has who wrote all changes in turn."""
    cells: dict[str, KeptCell] = {}
    reservations: dict[str, Reservation] = {}
    for change in changes:
        for name, cell in change.cells.items():
            cells.pop(name, None)
            if cell is not None:
                cells[name] = cell
        for request, reservation in change.reservations.items():
            reservations.pop(request, None)
            if reservation is not None:
                reservations[request] = reservation
    return cells, reservations, changes[-1].at_us


def test_a_restored_store_goes_on_where_it_was_with_free_places(clock: Clock) -> None:
    store = MemoryStore(clock, tracked=True)
    admitted(store.admit("gone", [Ask(limit, 2) for limit in ALL], 60))
    first = store.changes()
    admitted(store.admit("open", [Ask(limit, 3) for limit in ALL if limit.what is not What.CONCURRENT], 60))
    store.settle("gone", {ALL[1].id: 100, ALL[2].id: 200})
    admitted(store.admit("held", [Ask(ALL[3], 1)], 60))
    cells, reservations, at_us = kept(first, store.changes())

    again = MemoryStore(clock, tracked=True)
    again.restore(cells.values(), reservations, at_us)

    assert again.look(ALL[:3]) == store.look(ALL[:3])
    assert state(again, ALL[3]).used == 0
    assert set(reservations) == {"open", "held"}
    clock.forward(60)
    assert state(again, ALL[2]).reserved == 0


def test_a_clock_that_was_set_back_meanwhile_locks_nobody_out_and_forgives_nothing(clock: Clock) -> None:
    store = MemoryStore(clock, tracked=True)
    admitted(store.admit("open", [Ask(ALL[1], 600), Ask(ALL[2], 300)], 60))
    admitted(store.admit("done", [Ask(ALL[2], 500)], 60))
    store.settle("done", {})
    cells, reservations, at_us = kept(store.changes())
    clock.now_us -= 400 * 24 * HOUR_US

    again = MemoryStore(clock)
    again.restore(cells.values(), reservations, at_us)

    assert state(again, ALL[1]).used == 600
    assert (state(again, ALL[2]).used, state(again, ALL[2]).reserved) == (500, 300)
    clock.forward(60)
    assert state(again, ALL[1]).used == 0
    assert state(again, ALL[2]).reserved == 0


def test_changes_that_could_not_be_kept_come_again(clock: Clock) -> None:
    store = MemoryStore(clock, tracked=True)
    admitted(store.admit("a", [Ask(ALL[2], 300)], 60))
    changes = store.changes()
    assert store.changes().cells == {}

    store.changed_again(changes)

    assert store.changes() == changes


# --- any interleaving ---------------------------------------------------------------------------------

LIMITS = (
    requests(6, burst=4, node="a"),
    tokens(600, burst=900, node="a"),
    tokens(60, node="b", shadow=True),
    budget(1000, node="a"),
    budget(500, node="b"),
    budget(300, node="c", shadow=True),
    places(3, node="a"),
)
"""Their rates divide a minute in whole microseconds, so that the store rounds nothing."""

names = st.sampled_from("uvwxyz")
costs = st.integers(0, 400)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("admit"), names, st.lists(costs, min_size=7, max_size=7), st.integers(0, 90)),
        st.tuples(st.just("settle"), names, st.lists(costs, min_size=7, max_size=7)),
        st.tuples(st.just("release"), names),
        st.tuples(st.just("forward"), st.sampled_from([0.000001, 0.5, 3.0, 20.0, 61.0, 1500.0, 4000.0])),
    ),
    max_size=40,
)


def small(limit: Limit, cost: int) -> int:
    """A cost in the order of what its limit counts."""
    return cost % 3 if limit.what in (What.REQUESTS, What.CONCURRENT) else cost


@settings(max_examples=200)
@given(operations, st.booleans())
def test_any_interleaving_agrees_with_the_oracle(steps: list[tuple], restarts: bool) -> None:  # type: ignore[type-arg]  # of four shapes
    """Also across restarts at any moment, which here keep everything but places: none are asked then."""
    limits = LIMITS[:-1] if restarts else LIMITS
    clock = Clock(NOW_US)
    store = MemoryStore(clock, tracked=True)
    all_changes = []
    oracle = Oracle()
    oracle.now = clock.now_us
    for step in steps:
        oracle.advance(clock.now_us)
        match step:
            case ("admit", name, numbers, ttl_s):
                wants = [(limit, small(limit, n)) for limit, n in zip(limits, numbers, strict=False)]
                answer = store.admit(name, [Ask(*want) for want in wants], ttl_s)
                assert isinstance(answer, Admitted) == oracle.admit(name, wants, ttl_s * 1_000_000)
            case ("settle", name, numbers):
                used = {limit.id: small(limit, n) for limit, n in zip(limits, numbers, strict=False)}
                store.settle(name, used)
                oracle.settle(name, used)
            case ("release", name):
                store.release(name)
                oracle.release(name)
            case ("forward", seconds):
                clock.forward(seconds)
        oracle.advance(clock.now_us)
        for found in store.look(limits):
            limit = found.limit
            assert found.used == math.ceil(oracle.used(limit)) >= 0
            assert found.reserved == oracle.reserved(limit) >= 0
            assert found.remaining == max(0, limit.ceiling - found.used - found.reserved)
        if restarts:
            all_changes.append(store.changes())
            if not oracle.expired:  # a restart forgets the traces of expired reservations
                store = MemoryStore(clock, tracked=True)
                store.restore(kept(*all_changes)[0].values(), *kept(*all_changes)[1:])
