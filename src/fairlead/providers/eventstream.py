"""AWS's binary event streams (`application/vnd.amazon.eventstream`).

A message is: total length and header length (4 bytes each), a CRC-32 of these
eight bytes, headers, payload, and a CRC-32 of everything before it. A header
is: name length (1 byte), name, value type (1 byte), value. All numbers are
big-endian. Nothing of a message is believed before its checksums agree, and
lengths are bounded before memory is spent on them.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from typing import Final

import msgspec

from fairlead.errors import BadUpstreamAnswer

MAX_MESSAGE_BYTES: Final = 24 * 1024 * 1024
"""AWS allows 16 MiB of payload; this leaves room for what it may allow next."""
MAX_HEADERS_BYTES: Final = 128 * 1024

_PRELUDE_BYTES: Final = 12
_CRC_BYTES: Final = 4
_PRELUDE: Final = struct.Struct(">III")
_CRC: Final = struct.Struct(">I")

_TRUE, _FALSE, _BYTE, _SHORT, _INT, _LONG, _BYTES, _STRING, _TIMESTAMP, _UUID = range(10)
_FIXED: Final = {
    _BYTE: struct.Struct(">b"),
    _SHORT: struct.Struct(">h"),
    _INT: struct.Struct(">i"),
    _LONG: struct.Struct(">q"),
    _TIMESTAMP: struct.Struct(">q"),
}

HeaderValue = bool | int | bytes | str | uuid.UUID


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One whole message; its checksums were right."""

    headers: dict[str, HeaderValue]
    payload: bytes

    def text(self, name: str) -> str:
        """A string header; "" when it is absent or of another type."""
        value = self.headers.get(name)
        return value if isinstance(value, str) else ""


class EventStreamParser:
    """Bytes in, whole messages out; any split of the bytes gives the same messages."""

    __slots__ = ("_kept", "_wanted")

    def __init__(self) -> None:
        self._kept = bytearray()
        self._wanted = _PRELUDE_BYTES
        """Bytes that must be there before it is worth looking again."""

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are now whole.

        Raises:
            BadUpstreamAnswer: a checksum or length is wrong; the stream is lost.
        """
        kept = self._kept
        kept += data
        found: list[Message] = []
        start = 0
        while len(kept) - start >= self._wanted:
            total, headers_length = _prelude(kept, start)
            if len(kept) - start < total:
                self._wanted = total
                break
            found.append(_message(bytes(kept[start : start + total]), headers_length))
            start += total
            self._wanted = _PRELUDE_BYTES
        if start:
            del kept[:start]
        return found

    @property
    def unfinished(self) -> bool:
        """Part of a message has arrived."""
        return bool(self._kept)


def _prelude(data: bytearray, start: int) -> tuple[int, int]:
    total, headers_length, crc = _PRELUDE.unpack_from(data, start)
    if zlib.crc32(data[start : start + 8]) != crc:
        raise BadUpstreamAnswer("the event stream's prelude has a wrong checksum")
    if headers_length > MAX_HEADERS_BYTES or total > MAX_MESSAGE_BYTES:
        raise BadUpstreamAnswer(f"the event stream holds a message of {total} bytes, which is too large")
    if total < _PRELUDE_BYTES + headers_length + _CRC_BYTES:
        raise BadUpstreamAnswer("the event stream's lengths contradict each other")
    return total, headers_length


def _message(data: bytes, headers_length: int) -> Message:
    (crc,) = _CRC.unpack_from(data, len(data) - _CRC_BYTES)
    if zlib.crc32(data[:-_CRC_BYTES]) != crc:
        raise BadUpstreamAnswer("a message of the event stream has a wrong checksum")
    end = _PRELUDE_BYTES + headers_length
    try:
        headers = _headers(data[_PRELUDE_BYTES:end])
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise BadUpstreamAnswer("a message of the event stream has malformed headers") from error
    return Message(headers=headers, payload=data[end:-_CRC_BYTES])


def _headers(data: bytes) -> dict[str, HeaderValue]:
    headers: dict[str, HeaderValue] = {}
    at = 0
    while at < len(data):
        name_end = at + 1 + data[at]
        name = data[at + 1 : name_end].decode()
        headers[name], at = _value(data, name_end + 1, data[name_end])
    return headers


def _value(data: bytes, at: int, kind: int) -> tuple[HeaderValue, int]:
    """The value that begins at `at`, and where it ends."""
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, at
    fixed = _FIXED.get(kind)
    if fixed is not None:
        (number,) = fixed.unpack_from(data, at)
        assert isinstance(number, int)
        return number, at + fixed.size
    if kind == _UUID:
        return uuid.UUID(bytes=_slice(data, at, 16)), at + 16
    if kind in (_BYTES, _STRING):
        (length,) = struct.unpack_from(">H", data, at)
        value = _slice(data, at + 2, length)
        return (value.decode() if kind == _STRING else value), at + 2 + length
    raise BadUpstreamAnswer(f"a message of the event stream has a header of the unknown type {kind}")


def _slice(data: bytes, at: int, length: int) -> bytes:
    value = data[at : at + length]
    if len(value) != length:
        raise IndexError
    return value


def encode_message(headers: dict[str, HeaderValue], payload: bytes) -> bytes:
    """One message; integers travel as 8 bytes. For simulated upstreams and tests."""
    block = b"".join(_encode_header(name, value) for name, value in headers.items())
    total = _PRELUDE_BYTES + len(block) + len(payload) + _CRC_BYTES
    lengths = struct.pack(">II", total, len(block))
    data = lengths + _CRC.pack(zlib.crc32(lengths)) + block + payload
    return data + _CRC.pack(zlib.crc32(data))


def _encode_header(name: str, value: HeaderValue) -> bytes:
    encoded = name.encode()
    head = bytes((len(encoded),)) + encoded
    match value:
        case bool():
            return head + bytes((_TRUE if value else _FALSE,))
        case int():
            return head + bytes((_LONG,)) + _FIXED[_LONG].pack(value)
        case str():
            text = value.encode()
            return head + bytes((_STRING,)) + struct.pack(">H", len(text)) + text
        case bytes():
            return head + bytes((_BYTES,)) + struct.pack(">H", len(value)) + value
        case uuid.UUID():
            return head + bytes((_UUID,)) + value.bytes
