"""An answer is recognised only when nothing but the values of Date and Content-Length differs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.net.response import AnswerMemo, ResponseHead

DATE = b"Mon, 23 Nov 2026 19:08:46 GMT"
LATER = b"Tue, 24 Nov 2026 01:00:00 GMT"


def raw(length: bytes = b"5", date: bytes = DATE, more: bytes = b"") -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nServer: s\r\nDate: %b\r\nContent-Type: application/json\r\n"
        b"Content-Length: %b\r\n%b\r\n" % (date, length, more)
    )


def head(length: bytes = b"5", date: bytes = DATE) -> ResponseHead:
    fields = [(b"server", b"s"), (b"date", date), (b"content-type", b"application/json")]
    fields.append((b"content-length", length))
    return ResponseHead(200, b"OK", dict(fields), fields, True)


def memo() -> AnswerMemo:
    kept = AnswerMemo()
    kept.remember(raw(), head())
    return kept


def test_the_same_shape_is_recognised_with_its_own_date_and_body() -> None:
    found = memo().recall(raw(b"11", LATER) + b'{"a": true}')
    assert found is not None
    answer, body = found
    expected = head(b"11", LATER)
    assert body == b'{"a": true}'
    assert (answer.status, answer.headers, answer.raw_headers) == (
        200,
        expected.headers,
        expected.raw_headers,
    )


@pytest.mark.parametrize(
    "data",
    [
        raw() + b"four",
        raw() + b"sixsix",
        raw(b"05x") + b"12345",
        raw(b"+5") + b"12345",
        raw(b"") + b"12345",
        raw(b"5, 5") + b"12345",
        raw(date=b"Mon, 23 Nov 2026\r\nX-Y: 1 GMT"[:29]) + b"12345",
        raw(more=b"Transfer-Encoding: chunked\r\n") + b"12345",
        raw().replace(b"200", b"500") + b"12345",
        raw().replace(b"Server: s", b"Server: t") + b"12345",
        b"",
        raw()[:40],
    ],
)
def test_anything_else_is_parsed(data: bytes) -> None:
    assert memo().recall(data) is None


@given(st.integers(0, 400), st.binary(min_size=1, max_size=4))
def test_a_changed_byte_in_front_of_the_body_is_never_overlooked(place: int, junk: bytes) -> None:
    whole = raw() + b"12345"
    place %= len(raw())
    changed = whole[:place] + junk + whole[place + len(junk) :]
    found = memo().recall(changed)
    if found is not None:
        answer, body = found
        rebuilt = raw(answer.headers[b"content-length"], answer.headers[b"date"]) + body
        assert rebuilt == changed


def test_an_upstream_that_varies_its_heads_is_left_alone() -> None:
    kept = AnswerMemo()
    for number in range(10):
        kept.remember(raw(more=b"X: %d\r\n" % number), head())
    assert kept.recall(raw(more=b"X: 9\r\n") + b"12345") is None


def test_repeated_fields_are_not_remembered() -> None:
    kept = AnswerMemo()
    fields = [*head().raw_headers, (b"set-cookie", b"a"), (b"set-cookie", b"b")]
    kept.remember(raw(), ResponseHead(200, b"OK", dict(fields), fields, True))
    assert kept.recall(raw() + b"12345") is None


def test_a_head_without_a_date_and_one_with_the_date_last_are_recognised_too() -> None:
    dateless = AnswerMemo()
    fields = [(b"server", b"s"), (b"content-length", b"5")]
    dateless.remember(
        b"HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 5\r\n\r\n",
        ResponseHead(200, b"OK", dict(fields), fields, True),
    )
    found = dateless.recall(b"HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 2\r\n\r\nok")
    assert found is not None
    assert (found[0].headers, found[1]) == ({b"server": b"s", b"content-length": b"2"}, b"ok")
    dated = b"HTTP/1.1 200 OK\r\nServer: s\r\nDate: %b\r\nContent-Length: 2\r\n\r\nok" % DATE
    assert dateless.recall(dated) is None

    last = AnswerMemo()
    fields = [(b"content-length", b"5"), (b"date", DATE)]
    shape = b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\nDate: %b\r\n\r\n"
    last.remember(shape % (b"5", DATE), ResponseHead(200, b"OK", dict(fields), fields, True))
    found = last.recall(shape % (b"2", LATER) + b"ok")
    assert found is not None
    assert (found[0].headers, found[1]) == ({b"content-length": b"2", b"date": LATER}, b"ok")


def test_the_very_same_head_with_another_length_of_body_is_parsed() -> None:
    kept = memo()
    assert kept.recall(raw() + b"12345") is not None
    assert kept.recall(raw() + b"123456") is None
    assert kept.recall(raw() + b"1234") is None


def test_notes_are_shared_by_the_answers_of_one_shape() -> None:
    kept = memo()
    first, second = kept.recall(raw() + b"12345"), kept.recall(raw(b"1", LATER) + b"1")
    assert first is not None
    assert second is not None
    first[0].notes["block"] = b"x"
    assert second[0].notes == {"block": b"x"}
