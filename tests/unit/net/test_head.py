from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import HeadersTooLarge, HttpMethodUnknown, HttpVersionUnsupported, MalformedHttp
from fairlead.net.head import CHUNKED, Head, HeadBuffer, HeadMemo, HeadParser, skip_empty_lines

_TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ!#$%&'*+-.^_`|~0123456789", min_size=1, max_size=12)
_VALUE = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20
)


def parse(raw: bytes) -> Head:
    return HeadParser().parse(raw, "192.0.2.7")


def items(value: bytes) -> list[bytes]:
    """A field's value as a list; the blanks around a comma mean nothing."""
    return [item.strip(b" \t") for item in value.split(b",")]


def test_a_request_is_read_whole() -> None:
    head = parse(
        b"POST /v1/messages?beta=true&x=%2F HTTP/1.1\r\nHost: gateway:8080\r\nX-Api-Key:  key \t\r\n"
        b"Content-Length: 12\r\n\r\n"
    )
    assert head.method == "POST"
    assert head.target == "/v1/messages?beta=true&x=%2F"
    assert (head.path, head.query) == ("/v1/messages", "beta=true&x=%2F")
    assert head.headers == {b"host": b"gateway:8080", b"x-api-key": b"key", b"content-length": b"12"}
    assert (head.http10, head.keep_alive, head.expects_continue) == (False, True, False)
    assert (head.content_length, head.peer) == (12, "192.0.2.7")


def test_repeated_fields_are_joined() -> None:
    head = parse(b"GET / HTTP/1.1\r\nHost: a\r\nAccept: x \r\nACCEPT:  y\t\r\naccept: z\r\n\r\n")
    assert head.headers[b"accept"] == b"x , y\t, z"


def test_an_absolute_target_names_the_host() -> None:
    head = parse(b"GET HTTP://models.example:81/v1?a HTTP/1.1\r\nHost: other\r\n\r\n")
    assert head.headers[b"host"] == b"models.example:81"
    assert (head.path, head.query) == ("/v1", "a")
    assert head.target == "HTTP://models.example:81/v1?a"


def test_the_path_is_not_decoded() -> None:
    assert parse(b"GET /a%2Fb/%2e%2e/../%00 HTTP/1.1\r\nHost: a\r\n\r\n").path == "/a%2Fb/%2e%2e/../%00"


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive"),
    [
        ("1.1", None, True),
        ("1.1", "keep-alive", True),
        ("1.1", "Keep-Alive", True),
        ("1.1", "close", False),
        ("1.1", "CLOSE", False),
        ("1.1", "upgrade, close", False),
        ("1.1", "closed", True),
        ("1.0", None, False),
        ("1.0", "keep-alive", True),
        ("1.0", "Keep-Alive, x", True),
        ("1.0", "keep-alive, close", False),
    ],
)
def test_whether_the_client_keeps_the_connection(
    version: str, connection: str | None, keep_alive: bool
) -> None:
    field = f"Connection: {connection}\r\n" if connection else ""
    assert parse(f"GET / HTTP/{version}\r\nHost: a\r\n{field}\r\n".encode()).keep_alive is keep_alive


@pytest.mark.parametrize(
    ("field", "length"),
    [
        ("", 0),
        ("Content-Length: 0\r\n", 0),
        ("Content-Length: 999999999999999999\r\n", 999_999_999_999_999_999),
        ("Transfer-Encoding: CHUNKED\r\n", CHUNKED),
    ],
)
def test_the_length_of_the_body(field: str, length: int) -> None:
    assert parse(f"POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n".encode()).content_length == length


def test_expect_is_for_http_1_1_only() -> None:
    fields = b"\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n"
    assert parse(b"POST / HTTP/1.1" + fields).expects_continue
    assert not parse(b"POST / HTTP/1.0" + fields).expects_continue
    assert not parse(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n").expects_continue


def test_errors_say_what_to_answer() -> None:
    with pytest.raises(HttpVersionUnsupported) as version:
        parse(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n")
    assert version.value.status == 505
    with pytest.raises(HttpMethodUnknown) as method:
        parse(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert method.value.status == 501


def test_a_refused_request_leaves_no_trace_in_the_next() -> None:
    parser = HeadParser()
    with pytest.raises(MalformedHttp):
        parser.parse(b"GET / HTTP/1.1\r\nHost: a\r\nX-Old: 1\r\nHost: a\r\n\r\n", "")
    assert parser.parse(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n", "").headers == {b"host": b"b"}


def test_many_different_targets_do_not_pile_up() -> None:
    parser = HeadParser()
    for number in range(2000):
        parser.parse(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number, "")
    assert len(parser._lines) <= 512
    assert parser.parse(b"GET /7 HTTP/1.1\r\nHost: a\r\n\r\n", "").path == "/7"


@given(st.lists(st.tuples(_TOKEN, _VALUE), max_size=8))
def test_fields_come_out_as_they_went_in(fields: list[tuple[str, str]]) -> None:
    known = {"host", "content-length", "transfer-encoding", "expect", "connection"}
    fields = [(name, value) for name, value in fields if name.lower() not in known]
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    head = parse(f"GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode("latin-1"))
    expected: dict[bytes, bytes] = {b"host": b"a"}
    for name, value in fields:
        key, text = name.lower().encode(), value.encode("latin-1")
        expected[key] = expected[key] + b", " + text if key in expected else text
    assert {name: items(value) for name, value in head.headers.items()} == {
        name: items(value) for name, value in expected.items()
    }


@given(st.binary(max_size=60))
def test_any_bytes_are_a_head_or_an_error(data: bytes) -> None:
    raw = b"GET / HTTP/1.1\r\nHost: a\r\n" + data.replace(b"\r\n\r\n", b"") + b"\r\n\r\n"
    try:
        head = parse(raw)
    except MalformedHttp:
        return
    for name, value in head.headers.items():
        assert name == name.lower()
        assert not set(name + value) & set(b"\r\n\0")


def test_a_buffer_waits_for_the_end_of_the_section() -> None:
    buffer = HeadBuffer(HeadParser(), 1024)
    raw = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody"
    for at in range(len(raw) - 5):
        assert buffer.feed(raw[at : at + 1]) is None
    assert buffer.feed(raw[-5:]) == raw


def test_a_buffer_skips_empty_lines_however_they_arrive() -> None:
    buffer = HeadBuffer(HeadParser(), 1024)
    for piece in (b"\r", b"\n", b"\r\n\r", b"\n"):
        assert buffer.feed(piece) is None
    assert buffer.feed(b"GET / HTTP/1.1\r\n\r\n") == b"GET / HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize(
    "start",
    [
        b"\x16\x03\x01",
        b"GET /\n",
        b"GET / HTTP/1.1\r\nHost: a\n",
        b"\rG",
        b"GET /\r\n",
        b"GET / HTTP/1.1\r\n A",
    ],
)
def test_a_buffer_knows_early_that_no_request_will_come(start: bytes) -> None:
    with pytest.raises(MalformedHttp):
        HeadBuffer(HeadParser(), 1024).feed(start)


def test_a_bare_cr_in_the_request_line_is_found_when_a_piece_ends_with_it() -> None:
    buffer = HeadBuffer(HeadParser(), 1024)
    assert buffer.feed(b"GET /\r") is None
    with pytest.raises(MalformedHttp):
        buffer.feed(b"x")


def test_a_buffer_is_bounded() -> None:
    buffer = HeadBuffer(HeadParser(), 1024)
    assert buffer.feed(b"GET / HTTP/1.1\r\nX: " + b"y" * 1000) is None
    with pytest.raises(HeadersTooLarge):
        buffer.feed(b"y" * 10)


def test_empty_lines_are_skipped() -> None:
    assert skip_empty_lines(b"\r\n\r\nGET") == b"GET"
    assert skip_empty_lines(b"\r\n\r") == b"\r"
    assert skip_empty_lines(b"\r\n") == b""


# --- the memo of a connection ---------------------------------------------------------------------


def _raw(length: bytes, extra: bytes = b"") -> bytes:
    return b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\nX-A: 1\r\n%b\r\n" % (
        length,
        extra,
    )


def test_a_head_that_differs_in_its_length_alone_is_recalled_as_it_would_be_parsed() -> None:
    parser, memo = HeadParser(), HeadMemo()
    assert memo.recall(_raw(b"10")) is None
    first = parser.parse(_raw(b"10"), "::1")
    memo.remember(_raw(b"10"), first)
    assert memo.recall(_raw(b"10")) == first
    assert memo.recall(_raw(b"12345")) == parser.parse(_raw(b"12345"), "::1")
    assert first.headers[b"content-length"] == b"10"


@pytest.mark.parametrize(
    "raw",
    [
        _raw(b""),
        _raw(b"+1"),
        _raw(b"1, 1"),
        _raw(b"1\r\nContent-Length: 1"),
        _raw(b"0x1"),
        _raw(b"1" * 19),
        _raw(b"10", b"Transfer-Encoding: chunked\r\n"),
        _raw(b"10").replace(b"X-A: 1", b"X-A: 2"),
    ],
)
def test_every_other_difference_is_parsed(raw: bytes) -> None:
    parser, memo = HeadParser(), HeadMemo()
    memo.remember(_raw(b"10"), parser.parse(_raw(b"10"), ""))
    assert memo.recall(raw) is None


def test_a_client_that_varies_its_heads_is_left_alone() -> None:
    parser, memo = HeadParser(), HeadMemo()
    for number in range(10):
        raw = _raw(b"10", b"X-B: %d\r\n" % number)
        memo.remember(raw, parser.parse(raw, ""))
    assert memo.recall(raw) is None
