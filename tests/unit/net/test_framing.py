from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import MalformedHttp
from fairlead.net.framing import LAST_CHUNK, ChunkReader, chunk, header, status_line


def read_in_pieces(raw: bytes, cuts: list[int]) -> tuple[bytes, bytes | None]:
    reader = ChunkReader()
    payload, rest = b"", None
    at = 0
    for cut in [*sorted(cuts), len(raw)]:
        piece, rest = reader.feed(raw[at:cut])
        payload += piece
        at = cut
        if rest is not None:
            return payload, rest + raw[at:]
    return payload, rest


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.sampled_from([b"", b"X: y\r\n", b"X:\r\nY: \xe4\r\n"]),
    st.binary(max_size=10),
    st.data(),
)
def test_any_split_gives_the_same_payload(
    pieces: list[bytes], trailers: bytes, after: bytes, data: st.DataObject
) -> None:
    raw = b"".join(chunk(piece) for piece in pieces) + b"0\r\n" + trailers + b"\r\n" + after
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=8))
    assert read_in_pieces(raw, cuts) == (b"".join(pieces), after)


@given(st.binary(max_size=80), st.data())
def test_any_split_of_anything_gives_the_same_result(raw: bytes, data: st.DataObject) -> None:
    def outcome(cuts: list[int]) -> tuple[bytes, bytes | None] | None:
        try:
            return read_in_pieces(raw, cuts)
        except MalformedHttp:
            return None

    whole = outcome([])
    split = outcome(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    assert split == whole


def test_every_byte_alone() -> None:
    raw = b"5;a=b\r\nhello\r\n00010\r\n" + b"x" * 16 + b"\r\n0\r\nA: b\r\n\r\nNEXT"
    assert read_in_pieces(raw, list(range(len(raw)))) == (b"hello" + b"x" * 16, b"NEXT")


def test_an_unfinished_body_has_no_rest() -> None:
    for end in range(len(b"2\r\n{}\r\n0\r\n\r\n")):
        assert ChunkReader().feed(b"2\r\n{}\r\n0\r\n\r\n"[:end])[1] is None


@pytest.mark.parametrize(
    "line",
    [b"", b"g", b"-1", b"+1", b"0x1", b" 1", b"1 ", b"1\t", b"1\r", b"1_1", b"f" * 17, b"1;\0", b"1;\x7f"],
)
def test_bad_sizes_are_refused(line: bytes) -> None:
    with pytest.raises(MalformedHttp):
        ChunkReader().feed(line + b"\r\nx\r\n")


def test_the_longest_size_line_is_accepted_in_any_pieces() -> None:
    line = b"1;" + b"a" * 254
    assert read_in_pieces(line + b"\r\nx\r\n0\r\n\r\n", []) == (b"x", b"")
    assert read_in_pieces(line + b"\r\nx\r\n0\r\n\r\n", [len(line) + 1]) == (b"x", b"")
    with pytest.raises(MalformedHttp):
        ChunkReader().feed(line + b"a\r\nx\r\n")


def test_extensions_add_up() -> None:
    piece = b"1;" + b"a" * 199 + b"\r\nx\r\n"
    assert len(ChunkReader().feed(piece * 81)[0]) == 81
    with pytest.raises(MalformedHttp):
        ChunkReader().feed(piece * 82)


def test_trailers_add_up() -> None:
    with pytest.raises(MalformedHttp):
        ChunkReader().feed(b"0\r\n" + (b"A: " + b"b" * 97 + b"\r\n") * 82)


def test_a_chunk_of_nothing_would_end_the_body_and_is_left_out() -> None:
    assert chunk(b"") == b""
    assert chunk(b"x" * 17) == b"11\r\n" + b"x" * 17 + b"\r\n"
    assert ChunkReader().feed(chunk(b"a") + chunk(b"") + LAST_CHUNK) == (b"a", b"")


def test_header_lines() -> None:
    assert header("retry-after", "5") == b"retry-after: 5\r\n"
    assert header("x-note", "ä") == b"x-note: \xe4\r\n"
    assert header("x-raw", b"\xff") == b"x-raw: \xff\r\n"


@pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\0b", "a\r\nset-cookie: b"])
def test_a_header_value_cannot_add_a_line(value: str) -> None:
    with pytest.raises(ValueError):
        header("x-note", value)
    with pytest.raises(ValueError):
        header("x-note", value.encode())


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\n", "ä"])
def test_a_header_name_is_a_token(name: str) -> None:
    with pytest.raises(ValueError):
        header(name, "x")


def test_status_lines() -> None:
    assert status_line(200) == b"HTTP/1.1 200 OK\r\n"
    assert status_line(529) == b"HTTP/1.1 529 \r\n"
