"""The head of an upstream's answer: data, without I/O."""

from __future__ import annotations

import re
from typing import Final

from fairlead.types import Headers

_DATE_NAME: Final = b"date"
_LENGTH_NAME: Final = b"content-length"
_DATE_CHARS: Final = 29  # IMF-fixdate, RFC 9110, 5.6.7
_DATE: Final = b" ,:ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_DATE_LINE: Final = re.compile(rb"\r\ndate: ([ ,:A-Za-z0-9]{29})\r\n", re.IGNORECASE)
_LENGTH_LINE: Final = re.compile(rb"\r\ncontent-length: ([0-9]{1,12})\r\n", re.IGNORECASE)
_LENGTH_DIGITS: Final = 13
_MISSES: Final = 4


class ResponseHead:
    """Status line and headers of a final answer."""

    __slots__ = ("headers", "keep_alive", "notes", "raw_headers", "reason", "status")

    def __init__(
        self,
        status: int,
        reason: bytes,
        headers: dict[bytes, bytes],
        raw_headers: Headers,
        keep_alive: bool,
        notes: dict[str, bytes] | None = None,
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        """By name; duplicates are joined by `, `, but of `set-cookie` only the first is here."""
        self.raw_headers = raw_headers
        """All of them, in order."""
        self.keep_alive = keep_alive
        """The upstream lets the connection be used again."""
        self.notes = {} if notes is None else notes
        """What is remembered of these fields. A connection's heads that differ in date and length alone
        share it."""


class AnswerMemo:
    """Recognises an answer by the last one of its connection.

    The heads that one upstream sends on a connection mostly differ in nothing
    but the values of Date and Content-Length. When such an answer comes whole
    in one packet, its head has been checked already, every byte of it but
    those two values, and there is nothing left to parse.
    """

    __slots__ = ("_head", "_holes", "_length", "_misses", "_raw", "_rest")

    def __init__(self) -> None:
        self._raw = b""
        """The last head as it came; empty when nothing can be recognised."""
        self._head: ResponseHead | None = None
        self._length = 0
        self._holes: tuple[tuple[bytes, bytes], ...] = ()
        """What may differ: the bytes in front of a value, and the field's name."""
        self._rest = b""
        self._misses = 0

    def recall(self, data: bytes) -> tuple[ResponseHead, bytes] | None:
        """Head and body when `data` is one whole answer of the shape seen before; else None."""
        head = self._head
        if head is None:
            return None
        raw = self._raw
        if data.startswith(raw):
            return (head, data[len(raw) :]) if len(data) - len(raw) == self._length else None
        at = 0
        values: list[tuple[bytes, bytes]] = []
        for before, name in self._holes:
            if not data.startswith(before, at):
                return None
            at += len(before)
            if name is _DATE_NAME:
                end = at + _DATE_CHARS
                value = data[at:end]
                if value.translate(None, _DATE):
                    return None
            else:
                end = data.find(b"\r", at, at + _LENGTH_DIGITS)
                value = data[at:end]
                if end < 0 or not value.isdigit():
                    return None
            values.append((name, value))
            at = end
        if not data.startswith(self._rest, at):
            return None
        at += len(self._rest)
        headers = head.headers.copy()
        headers.update(values)
        if len(data) - at != int(headers[_LENGTH_NAME]):
            return None
        self._raw = data[:at]
        self._length = len(data) - at
        self._head = ResponseHead(200, head.reason, headers, list(headers.items()), True, head.notes)
        return self._head, data[at:]

    def remember(self, raw: bytes, head: ResponseHead) -> None:
        """Keep the shape of a head that was parsed. An upstream that varies its heads is soon left alone."""
        self._misses += 1
        self._head = None
        if self._misses > _MISSES or head.status != 200 or len(head.headers) != len(head.raw_headers):
            return
        length, date = _LENGTH_LINE.search(raw), _DATE_LINE.search(raw)
        if length is None or (date is None and b"date" in head.headers):
            return
        found = [(length.span(1), _LENGTH_NAME)]
        if date is not None:
            found.append((date.span(1), _DATE_NAME))
        holes: list[tuple[bytes, bytes]] = []
        at = 0
        for (start, end), name in sorted(found):
            holes.append((raw[at:start], name))
            at = end
        self._holes = tuple(holes)
        self._rest = raw[at:]
        self._raw = raw
        self._length = int(length[1])
        self._head = head


def joined(raw: Headers) -> dict[bytes, bytes]:
    """Header fields by name, when some occur more than once."""
    headers: dict[bytes, bytes] = {}
    for name, value in raw:
        if name not in headers:
            headers[name] = value
        elif name != b"set-cookie":
            headers[name] += b", " + value
    return headers


def size_bytes(raw: Headers) -> int:
    """About how many bytes a header section took on the wire."""
    return sum(len(name) + len(value) + 4 for name, value in raw)
