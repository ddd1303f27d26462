"""Content is held within bounds, and no longer than needed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.telemetry.otel.content import Content, Contents


def test_a_request_and_its_answer_are_held_until_they_are_released() -> None:
    contents = Contents(max_content_bytes=100)
    take = contents.hold("r1", b"asked")
    assert take is not None
    take(b"an")
    take(b"swer")

    assert contents.release("r1") == Content(request=b"asked", answer=b"answer")
    assert contents.release("r1") is None


def test_a_long_answer_is_cut_and_goes_on_no_further() -> None:
    contents = Contents(max_content_bytes=1)  # 16 raw bytes
    take = contents.hold("r1", b"")
    assert take is not None
    take(b"a" * 10)
    take(b"b" * 10)
    take(b"c")

    held = contents.release("r1")
    assert held is not None
    assert held.answer == b"a" * 10 + b"b" * 6
    assert contents.left_out == 1


def test_a_body_without_room_is_not_held() -> None:
    contents = Contents(max_content_bytes=1, max_bytes=20)

    assert contents.hold("large", b"x" * 17) is None
    assert contents.hold("r1", b"x" * 16) is not None
    assert contents.hold("r2", b"x" * 16) is None
    assert contents.left_out == 2
    contents.release("r1")
    assert contents.hold("r2", b"x" * 16) is not None


def test_a_tap_that_outlives_its_record_holds_nothing() -> None:
    contents = Contents(max_content_bytes=10, max_bytes=30)
    take = contents.hold("r1", b"")
    assert take is not None
    contents.release("r1")

    take(b"late" * 10)

    assert contents.hold("r2", b"x" * 30) is not None


@given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=30)), max_size=60))
def test_all_the_memory_comes_back(pieces: list[tuple[int, bytes]]) -> None:
    contents = Contents(max_content_bytes=4, max_bytes=100)
    takes = [contents.hold(f"r{number}", b"body") for number in range(4)]
    for number, piece in pieces:
        take = takes[number]
        assert take is not None
        take(piece)
    held = [contents.release(f"r{number}") for number in range(4)]

    assert sum(len(one.answer) for one in held if one is not None) <= 84
    assert Contents(max_content_bytes=4, max_bytes=100).hold("all", b"x" * 64) is not None
    assert contents.hold("all", b"x" * 64) is not None
