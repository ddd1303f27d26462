"""A shared answer reaches everybody whole, at their own pace, within its room."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.cache.entry import Facts
from fairlead.cache.flight import Flight, Flights, Seat

FACTS = Facts(scope="s", tenant="t", model="m")


def flight(room: int = 1000) -> Flight:
    return Flights().begin(b"key", room=room, form=None)


def test_an_answer_can_be_joined_until_it_is_over() -> None:
    flights = Flights()
    one = flights.begin(b"a", room=10, form=None)
    assert flights.find(b"a") is one
    assert flights.find(b"b") is None
    one.land(b"x", FACTS)
    assert flights.find(b"a") is None
    assert len(flights) == 0


def test_the_end_of_an_old_one_does_not_take_the_new_one_away() -> None:
    flights = Flights()
    old = flights.begin(b"a", room=1, form=None)
    old.add(b"longer than its room")
    new = flights.begin(b"a", room=10, form=None)
    old.fail(ValueError())
    assert flights.find(b"a") is new


def test_the_last_to_leave_ends_the_call_and_nobody_else_does() -> None:
    one = flight()
    ends: list[int] = []
    one.cancel = lambda: ends.append(1)
    first, second = one.join(), one.join()
    first.leave()
    first.leave()
    assert not ends
    second.leave()
    assert ends == [1]


def test_leaving_after_the_end_ends_nothing() -> None:
    one = flight()
    one.cancel = lambda: pytest.fail("it has ended by itself")
    seat = one.join()
    one.land(None, FACTS)
    seat.leave()


def test_a_failure_after_the_landing_is_none() -> None:
    one = flight()
    ends: list[int] = []
    one.end = lambda: ends.append(1)
    one.land(b"body", FACTS)
    one.fail(ValueError())
    assert one.error is None
    assert ends == [1]


@given(
    st.lists(st.one_of(st.binary(min_size=1, max_size=30), st.integers(0, 3)), max_size=60),
    st.integers(1, 200),
)
def test_whoever_is_not_cut_off_gets_every_byte_in_order(steps: list[bytes | int], room: int) -> None:
    """Bytes are a piece that comes; numbers are readers who join, or read."""
    one = flight(room)
    sent = b""
    readers: dict[int, tuple[Seat, bytes]] = {}
    for step in steps:
        if isinstance(step, bytes):
            one.add(step)
            sent += step
        elif step not in readers:
            if len(sent) <= room:
                readers[step] = (one.join(), b"")
        else:
            seat, got = readers[step]
            if not seat.cut:
                readers[step] = (seat, got + seat.take())
    assert one.whole() == (sent if len(sent) <= room else None)
    fastest = max((len(got) for _, got in readers.values()), default=0)
    for seat, got in readers.values():
        if seat.cut:
            assert len(got) < fastest - room
        else:
            assert got + seat.take() == sent


def test_what_everybody_has_read_is_forgotten_once_it_is_too_long() -> None:
    one = flight(room=100)
    fast, slow = one.join(), one.join()
    for _ in range(50):
        one.add(b"x" * 10)
        fast.take()
    assert slow.cut
    assert sum(map(len, one._parts)) <= 110
    assert fast.read == 500


def test_the_call_waits_for_the_fastest_reader_alone() -> None:
    one = flight(room=10_000_000)
    fast, _slow = one.join(), one.join()
    one.add(b"x" * 300_000)
    assert one.ahead
    fast.take()
    assert not one.ahead
