"""The event stream parser: the format's corners, and that no split matters."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import UpstreamProtocolError
from fairlead.net.sse import SseEvent, SseParser


def parse(*pieces: bytes) -> list[SseEvent]:
    parser = SseParser()
    return [event for piece in pieces for event in parser.feed(piece)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [SseEvent("", b"a")]),
        (b"data:a\n\n", [SseEvent("", b"a")]),
        (b"data:  a\n\n", [SseEvent("", b" a")]),
        (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", [SseEvent("", x) for x in (b"a", b"b", b"c")]),
        (b"data: a\ndata: b\ndata:\n\n", [SseEvent("", b"a\nb\n")]),
        (b"data\n\n", [SseEvent("", b"")]),
        (b"data:\n\n", [SseEvent("", b"")]),
        (b"event: ping\n\n", []),
        (b"event: ping\n\ndata: a\n\n", [SseEvent("", b"a")]),
        (b"event: x\ndata: {}\n\n", [SseEvent("x", b"{}")]),
        (b"data: {}\nevent: x\nevent: y\n\n", [SseEvent("y", b"{}")]),
        (b": comment\n\ndata: a\n: between\ndata: b\n\n", [SseEvent("", b"a\nb")]),
        (b"\xef\xbb\xbfdata: a\n\n", [SseEvent("", b"a")]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", [SseEvent("", b"b")]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [SseEvent("", b"a")]),
        (b"id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n", [
            SseEvent("", b"a", "1"), SseEvent("", b"b", "1"), SseEvent("", b"c"),
        ]),
        (b"id: 1\n\ndata: a\n\n", [SseEvent("", b"a", "1")]),
        (b"id: 1\0\ndata: a\n\n", [SseEvent("", b"a")]),
        (b"retry: 250\ndata: a\n\n", [SseEvent("", b"a", "", 250)]),
        (b"retry: 2x\ndata: a\n\n", [SseEvent("", b"a")]),
        (b"retry: " + b"9" * 5000 + b"\ndata: a\n\n", [SseEvent("", b"a")]),
        (b"datax: a\nunknown\n data: b\n\n", []),
        (b"event: \xff\ndata: \xff\n\n", [SseEvent("\ufffd", b"\xff")]),
        (b"data: a\x0bb\x0cc\x85\n\n", [SseEvent("", b"a\x0bb\x0cc\x85")]),
        (b"\n\n\r\n\rdata: a\n\n", [SseEvent("", b"a")]),
        (b"data: not ended", []),
        (b"data: not dispatched\n", []),
        (b"", []),
    ],
)  # fmt: skip
def test_events(stream: bytes, events: list[SseEvent]) -> None:
    assert parse(stream) == events
    for cut in range(len(stream)):
        assert parse(stream[:cut], stream[cut:]) == events, f"split at {cut}"
    assert parse(*(bytes([byte]) for byte in stream)) == events


_LINES = st.sampled_from(
    [
        b"data: x",
        b"data:",
        b"data",
        b"event: e",
        b"id: 7",
        b"retry: 9",
        b": c",
        b"",
        b"\xef\xbb\xbf",
        b"other",
    ]
)
_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(
    lines=st.lists(st.tuples(_LINES, _ENDS), max_size=12),
    tail=st.sampled_from([b"", b"data: x", b"\r"]),
    cuts=st.lists(st.integers(0, 80), max_size=6),
    max_bytes=st.sampled_from([12, 20, 1000]),
)
def test_any_split_gives_the_same_events_the_same_rest_and_the_same_failure(
    lines: list[tuple[bytes, bytes]], tail: bytes, cuts: list[int], max_bytes: int
) -> None:
    stream = b"".join(line + end for line, end in lines) + tail
    places = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(places)]
    assert _drained(pieces, max_bytes) == _drained([stream], max_bytes)


def _drained(pieces: list[bytes], max_bytes: int) -> tuple[list[SseEvent], bytes, bool]:
    parser = SseParser(max_bytes)
    events: list[SseEvent] = []
    try:
        for piece in (*pieces, b""):
            events += parser.feed(piece)
    except UpstreamProtocolError:
        return events, parser.rest(), True
    return events, parser.rest(), False


@given(st.lists(st.binary(max_size=30)))
def test_any_bytes_are_parsed(pieces: list[bytes]) -> None:
    assert parse(*pieces) == parse(b"".join(pieces))


@given(st.lists(st.tuples(st.text(st.characters(codec="ascii", categories=["L"])), st.binary()), max_size=5))
def test_what_is_written_is_read(events: list[tuple[str, bytes]]) -> None:
    stream = b""
    for name, data in events:
        stream += b"event: %b\n" % name.encode()
        data = data.replace(b"\r", b"")
        stream += b"".join(b"data: %b\n" % line for line in data.split(b"\n")) + b"\n"
    assert [(event.event, event.data) for event in parse(stream)] == [
        (name, data.replace(b"\r", b"")) for name, data in events
    ]


def test_rest_is_what_was_not_dispatched() -> None:
    parser = SseParser()
    parser.feed(b"data: a\n\nevent: x\r\n: dropped\r\ndata: b\r\nda")
    assert parser.rest() == b"event: x\ndata: b\nda"
    parser.feed(b"ta: c\n\n")
    assert parser.rest() == b""


def test_a_stream_without_its_last_empty_line_can_be_ended() -> None:
    parser = SseParser()
    assert parser.feed(b"data: [DONE]") == []
    assert parser.rest()
    assert parser.feed(b"\n\n") == [SseEvent("", b"[DONE]")]


@pytest.mark.parametrize(
    "endless", [b"data: " + b"x" * 200, b"data: x\n" * 30, b": " + b"c" * 200, b"x" * 200, b"a: b\n" * 40]
)
def test_an_endless_event_is_an_error(endless: bytes) -> None:
    assert _drained([endless[start : start + 10] for start in range(0, len(endless), 10)], 100) == (
        [],
        b"",
        True,
    )
    with pytest.raises(UpstreamProtocolError, match="larger than 100 bytes"):
        SseParser(100).feed(endless)


def test_nothing_is_kept_of_what_follows_an_event_too_large() -> None:
    parser = SseParser(20)
    with pytest.raises(UpstreamProtocolError):
        parser.feed(b": " + b"c" * 100 + b"\ndata: x")
    assert parser.rest() == b""


def test_heartbeats_forever_are_not_an_endless_event() -> None:
    parser = SseParser(100)
    for _ in range(1000):
        assert parser.feed(b": ping\n") == []
    assert parser.feed(b"data: a\n\n") == [SseEvent("", b"a")]


def test_events_before_the_one_too_large_are_returned_first() -> None:
    parser = SseParser(20)
    assert parser.feed(b"data: a\n\ndata: " + b"x" * 100) == [SseEvent("", b"a")]
    with pytest.raises(UpstreamProtocolError):
        parser.feed(b"")
