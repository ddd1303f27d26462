from __future__ import annotations

from math import inf

import pytest

from fairlead.errors import BodyTooLarge, MalformedHttp
from fairlead.net.head import CHUNKED
from fairlead.net.upload import MIN_BYTES_PER_S, Upload


def upload(length: int = 10, limit_bytes: int = 100) -> Upload:
    return Upload(length, limit_bytes, 30.0, 1000.0)


def test_a_body_by_length() -> None:
    body = upload()
    assert body.feed(b"01234") == (b"01234", b"")
    assert (body.over, body.received) == (False, 5)
    assert body.feed(b"56789GET") == (b"56789", b"GET")
    assert (body.over, body.received) == (True, 10)


def test_a_body_by_chunks() -> None:
    body = upload(CHUNKED)
    assert body.feed(b"3\r\nab") == (b"ab", b"")
    assert body.feed(b"c\r\n0\r\n\r\nGET") == (b"c", b"GET")
    assert (body.over, body.received) == (True, 3)


def test_a_body_of_nothing_is_over_at_once() -> None:
    body = upload(0)
    assert body.feed(b"GET") == (b"", b"GET")
    assert body.over


def test_the_limit_counts_payload() -> None:
    body = upload(CHUNKED, limit_bytes=3)
    assert body.feed(b"3;extension\r\nabc\r\n") == (b"abc", b"")
    with pytest.raises(BodyTooLarge):
        body.feed(b"1\r\nd\r\n")


def test_bad_chunks_are_an_error() -> None:
    with pytest.raises(MalformedHttp):
        upload(CHUNKED).feed(b"x\r\n")


def test_each_piece_gives_more_time() -> None:
    body = upload(100_000, 100_000)
    body.feed(b"x" * 50_000)
    assert body.due_at(1020.0) == 1050.0


def test_the_average_rate_has_a_floor() -> None:
    body = upload(1000)
    for second in range(1000, 1030, 5):
        body.feed(b"x")
        assert body.due_at(float(second)) <= 1030.0 + 6 / MIN_BYTES_PER_S


def test_time_does_not_run_while_the_client_waits_for_us() -> None:
    body = upload()
    body.pause(1010.0)
    body.pause(1020.0)
    assert (body.paused, body.due_at(5000.0)) == (True, inf)
    body.resume(2010.0)
    assert (body.paused, body.due_at(2010.0)) == (False, 2030.0)
    body.resume(3000.0)
    assert body.due_at(2010.0) == 2030.0
