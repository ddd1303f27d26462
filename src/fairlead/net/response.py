"""The head of an upstream's answer: data, without I/O."""

from __future__ import annotations

import re
from typing import Final

from fairlead.types import Headers

_DATE_CHARS: Final = 29  # IMF-fixdate, RFC 9110, 5.6.7
_DATE: Final = b" ,:ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_DATE_LINE: Final = re.compile(rb"\r\ndate: ([ ,:A-Za-z0-9]{29})\r\n", re.IGNORECASE)
_LENGTH_LINE: Final = re.compile(rb"\r\ncontent-length: ([0-9]{1,12})\r\n", re.IGNORECASE)
_LENGTH_DIGITS: Final = 13
_MISSES: Final = 4


class ResponseHead:
    """Status line and headers of a final answer."""

    __slots__ = ("headers", "keep_alive", "raw_headers", "reason", "status")

    def __init__(
        self, status: int, reason: bytes, headers: dict[bytes, bytes], raw_headers: Headers, keep_alive: bool
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        """By name; duplicates are joined by `, `, but of `set-cookie` only the first is here."""
        self.raw_headers = raw_headers
        """All of them, in order."""
        self.keep_alive = keep_alive
        """The upstream lets the connection be used again."""


class AnswerMemo:
    """Recognises an answer by the last one of its connection.

    The heads that one upstream sends on a connection mostly differ in nothing
    but the values of Date and Content-Length. When such an answer comes whole
    in one packet, its head has been checked already, every byte of it but
    those two values, and there is nothing left to parse.
    """

    __slots__ = ("_after", "_before", "_between", "_headers", "_misses", "_reason")

    def __init__(self) -> None:
        self._before = b""
        """Up to the value of Date; empty when nothing can be recognised."""
        self._between = b""
        """From there up to the value of Content-Length."""
        self._after = b""
        self._headers: dict[bytes, bytes] = {}
        self._reason = b""
        self._misses = 0

    def recall(self, data: bytes) -> tuple[ResponseHead, bytes] | None:
        """Head and body when `data` is one whole answer of the shape seen before; else None."""
        before = self._before
        if not before or not data.startswith(before):
            return None
        start = len(before)
        at = start + _DATE_CHARS
        between = self._between
        if not data.startswith(between, at):
            return None
        at += len(between)
        end = data.find(b"\r", at, at + _LENGTH_DIGITS)
        if end < 0 or not data.startswith(self._after, end):
            return None
        digits = data[at:end]
        body_at = end + len(self._after)
        date = data[start : start + _DATE_CHARS]
        if not digits.isdigit() or len(data) - body_at != int(digits) or date.translate(None, _DATE):
            return None
        headers = self._headers.copy()
        headers[b"date"] = date
        headers[b"content-length"] = digits
        return ResponseHead(200, self._reason, headers, list(headers.items()), True), data[body_at:]

    def remember(self, raw: bytes, head: ResponseHead) -> None:
        """Keep the shape of a head that was parsed. An upstream that varies its heads is soon left alone."""
        self._misses += 1
        self._before = b""
        if self._misses > _MISSES or head.status != 200 or len(head.headers) != len(head.raw_headers):
            return
        date, length = _DATE_LINE.search(raw), _LENGTH_LINE.search(raw)
        if date is None or length is None or date.start() > length.start():
            return
        self._before = raw[: date.start(1)]
        self._between = raw[date.end(1) : length.start(1)]
        self._after = raw[length.end(1) :]
        self._headers = head.headers
        self._reason = head.reason


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
