"""Cutting a stream into whole events."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers import openai_sse
from fairlead.providers.openai_sse import EventBuffer, data_of, events, named

STREAM = b': hi\n\ndata: {"a":1}\n\nevent: x\ndata: 1\ndata: 2\n\n\ndata:3\n\ndata: [DONE]\n\n'


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(at), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


def parse(pieces: list[bytes]) -> list[bytes]:
    buffer = EventBuffer()
    found: list[bytes] = []
    for piece in pieces:
        block = buffer.feed(piece)
        assert not block or block.endswith(b"\n\n") or block.strip(b"\n")
        found += [data_of(event) for event in events(block)] if block else []
    assert buffer.rest().strip(b"\n") == b""
    return [data for data in found if data]


EXPECTED = [b'{"a":1}', b"1\n2", b"3", b"[DONE]"]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_every_cut_gives_the_same_events(ending: bytes) -> None:
    stream = STREAM.replace(b"\n", ending)
    for position in range(len(stream) + 1):
        assert parse([stream[:position], stream[position:]]) == EXPECTED


@given(st.lists(st.integers(0, len(STREAM) * 2), max_size=12), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_cuts_give_the_same_events(at: list[int], ending: bytes) -> None:
    stream = STREAM.replace(b"\n", ending)
    assert parse(cut(stream, [min(position, len(stream)) for position in at])) == EXPECTED


def test_one_byte_at_a_time() -> None:
    assert parse([bytes([byte]) for byte in STREAM]) == EXPECTED


def test_half_an_event_is_kept() -> None:
    buffer = EventBuffer()
    assert buffer.feed(b"data: 1\n\ndata: 2\n") == b"data: 1\n\n"
    assert not buffer.idle
    assert buffer.rest() == b"data: 2\n"
    assert buffer.feed(b"\n") == b"data: 2\n\n"
    assert buffer.idle


def test_an_event_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_sse, "MAX_EVENT_BYTES", 10)
    buffer = EventBuffer()
    buffer.feed(b"data: 1234")
    with pytest.raises(BadUpstreamAnswer, match="exceeds"):
        buffer.feed(b"5")


def test_names_and_data_of_events() -> None:
    assert named(b"event: error\ndata: 1", b"error")
    assert named(b"\xef\xbb\xbfevent:error", b"error")
    assert not named(b"data: event: error", b"error")
    assert data_of(b"\xef\xbb\xbfdata: 1") == b"1"
    assert data_of(b": comment") == b""
    assert data_of(b"data") == b""
