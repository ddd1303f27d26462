from __future__ import annotations

import struct
import uuid
import zlib

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers.eventstream import (
    MAX_MESSAGE_BYTES,
    EventStreamParser,
    HeaderValue,
    Message,
    encode_message,
)

names = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=20)
values: st.SearchStrategy[HeaderValue] = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=30), st.text(max_size=20), st.uuids()
)
messages = st.builds(
    Message, headers=st.dictionaries(names, values, max_size=4), payload=st.binary(max_size=60)
)


def encode(message: Message) -> bytes:
    return encode_message(message.headers, message.payload)


@given(st.lists(messages, max_size=4), st.lists(st.integers(1, 40), max_size=12))
def test_what_is_encoded_is_parsed_whatever_the_split(sent: list[Message], sizes: list[int]) -> None:
    data = b"".join(encode(message) for message in sent)
    parser = EventStreamParser()
    found: list[Message] = []
    for size in sizes:
        found += parser.feed(data[:size])
        data = data[size:]
    found += parser.feed(data)

    assert found == sent
    assert not parser.unfinished


@given(messages)
def test_botocore_reads_the_same(message: Message) -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(encode(message))

    (found,) = list(buffer)

    expected = {
        name: value.bytes if isinstance(value, uuid.UUID) else value
        for name, value in message.headers.items()
    }
    assert found.headers == expected
    assert found.payload == message.payload


def test_every_byte_apart() -> None:
    message = Message(headers={":event-type": "a"}, payload=b"{}")
    parser = EventStreamParser()

    found = [m for byte in encode(message) * 2 for m in parser.feed(bytes([byte]))]

    assert found == [message, message]


def test_header_types_that_the_encoder_does_not_use() -> None:
    block = (
        b"\x01a\x02\xff"
        + b"\x01b\x03\xff\xfe"
        + b"\x01c\x04\x00\x00\x00\x07"
        + b"\x01d\x08"
        + (9).to_bytes(8, "big")
    )

    (message,) = EventStreamParser().feed(_frame(block, b""))

    assert message.headers == {"a": -1, "b": -2, "c": 7, "d": 9}
    assert message.text("a") == ""


def _frame(block: bytes, payload: bytes) -> bytes:
    lengths = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    head = lengths + struct.pack(">I", zlib.crc32(lengths)) + block + payload
    return head + struct.pack(">I", zlib.crc32(head))


def _prelude(total: int, headers: int) -> bytes:
    lengths = struct.pack(">II", total, headers)
    return lengths + struct.pack(">I", zlib.crc32(lengths))


@pytest.mark.parametrize(
    "data",
    [
        _prelude(MAX_MESSAGE_BYTES + 1, 0),
        _prelude(1000, 200_000),
        _prelude(15, 0),
        _prelude(40, 30),
        b"\x00" * 12,
        _frame(b"\x05ab", b""),
        _frame(b"\x01a\x07\x00\x09abc", b""),
        _frame(b"\x01a\x0b", b""),
        _frame(b"\x01\xff\x00", b""),
        _frame(b"\x01a\x07\x00\x01\xff", b""),
    ],
)
def test_malformed_messages_are_refused(data: bytes) -> None:
    with pytest.raises(BadUpstreamAnswer):
        EventStreamParser().feed(data)


@given(messages, st.data())
def test_a_flipped_bit_is_noticed(message: Message, data: st.DataObject) -> None:
    frame = bytearray(encode(message))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(BadUpstreamAnswer):
        EventStreamParser().feed(bytes(frame))
