"""The head of an upstream's answer: data, without I/O."""

from __future__ import annotations

from fairlead.types import Headers


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
