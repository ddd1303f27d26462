"""Whole chunks are joined exactly as the real parser reads them, or not at all."""

from __future__ import annotations

import httptools
from hypothesis import given
from hypothesis import strategies as st

from fairlead.net.chunks import ChunkSizes


class Body:
    """What the real parser makes of a body; None when it refuses it or wants more."""

    def __init__(self, data: bytes) -> None:
        self.content = b""
        self.ended = False
        parser = httptools.HttpResponseParser(self)
        parser.feed_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        try:
            parser.feed_data(data + b"0\r\n\r\n")
        except httptools.HttpParserError:
            self.ended = False

    def on_body(self, piece: bytes) -> None:
        self.content += piece

    def on_message_complete(self) -> None:
        self.ended = True


def framed(pieces: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def test_several_events_at_once_are_joined() -> None:
    events = [b"data: {}\n\n", b"data: [DONE]\n\n" * 40, b"x"]
    sizes = ChunkSizes()
    for _ in range(2):  # learned, then known
        assert sizes.joined(framed(events)) == b"".join(events)


def test_one_known_chunk_may_hold_line_ends() -> None:
    sizes = ChunkSizes()
    assert sizes.joined(framed([b"12345678"])) == b"12345678"
    assert sizes.joined(framed([b"12\r\n\r\n78"])) == b"12\r\n\r\n78"


@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=6),
    st.integers(0, 10**6),
    st.binary(max_size=3),
    st.booleans(),
)
def test_nothing_is_accepted_that_the_parser_refuses_or_reads_otherwise(
    pieces: list[bytes], place: int, junk: bytes, cut: bool
) -> None:
    data = framed(pieces)
    if data:
        place %= len(data)
        data = data[:place] + junk + data[place + (0 if cut else len(junk)) :]
    sizes = ChunkSizes()
    sizes.joined(framed([b"x" * number for number in range(1, 300)]))
    content = sizes.joined(data)
    if content is not None:
        read = Body(data)
        assert read.ended
        assert read.content == content


@given(
    st.sampled_from([b"+5", b"0x5", b" 5", b"5 ", b"5_0", b"", b"-5", b"5;a=b", b"0", b"00000005", b"\xb2"])
)
def test_sizes_that_are_no_hexadecimal_number_are_left_to_the_parser(header: bytes) -> None:
    assert ChunkSizes().joined(header + b"\r\n12345\r\n") is None
    assert ChunkSizes().joined(b"1\r\nx\r\n" + header + b"\r\n12345\r\n") is None


def test_the_table_of_sizes_is_bounded() -> None:
    sizes = ChunkSizes()
    for number in range(1, 6000):
        assert sizes.joined(framed([b"x" * number])) is not None
    assert len(sizes._known) <= 4096
