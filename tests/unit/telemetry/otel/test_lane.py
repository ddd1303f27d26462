"""The collector's queue is bounded, and the oldest goes first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.telemetry.otel.lane import Deferred, Lane


def lane(items: int = 3, size: int = 100) -> Lane:
    return Lane("traces", max_items=items, max_bytes=size)


def test_what_was_put_is_taken_in_order() -> None:
    waiting = lane()
    for item in (b"a", b"b", b"c"):
        waiting.put(item)

    assert waiting.take(2, 100) == [b"a", b"b"]
    assert waiting.take(2, 100) == [b"c"]
    assert waiting.take(2, 100) == []
    assert waiting.dropped == 0


def test_the_oldest_makes_room_and_is_counted() -> None:
    waiting = lane()
    for number in range(5):
        waiting.put(b"%d" % number)

    assert waiting.take(9, 100) == [b"2", b"3", b"4"]
    assert waiting.dropped == 2


def test_bytes_are_bounded_too() -> None:
    waiting = lane(items=100, size=10)
    waiting.put(b"x" * 6)
    waiting.put(Deferred(size_bytes=6, encode=lambda: b"later"))

    assert len(waiting) == 1
    assert waiting.dropped == 1


def test_an_item_that_is_larger_than_a_request_is_still_taken() -> None:
    waiting = lane()
    waiting.put(b"x" * 50)
    waiting.put(b"y")

    assert waiting.take(10, 10) == [b"x" * 50]


def test_what_could_not_be_sent_goes_back_to_the_front() -> None:
    waiting = lane()
    waiting.put(b"a")
    waiting.put(b"b")
    taken = waiting.take(2, 100)
    waiting.put(b"c")
    waiting.put(b"d")

    waiting.restore(taken)

    assert waiting.take(9, 100) == [b"b", b"c", b"d"]
    assert waiting.dropped == 1


@given(st.lists(st.one_of(st.binary(max_size=20), st.just(None)), max_size=40))
def test_everything_is_taken_dropped_or_waiting(steps: list[bytes | None]) -> None:
    waiting = lane(items=5, size=40)
    put = taken = 0
    for step in steps:
        if step is None:
            taken += len(waiting.take(2, 30))
        else:
            put += 1
            waiting.put(step)
    assert len(waiting) <= 5
    assert put == taken + waiting.dropped + len(waiting)
    waiting.clear()
    assert put == taken + waiting.dropped
