"""A request body on its way in: what of it has come, how much may come, and by when.

Pure: it is handed bytes and the time. Who waits for the body, and what happens
when it is too long or too slow, is `net.connection`'s business.
"""

from __future__ import annotations

from math import inf
from typing import Final

from fairlead.errors import BodyTooLarge
from fairlead.net.framing import ChunkReader
from fairlead.net.head import CHUNKED

MIN_BYTES_PER_S: Final = 500.0
"""Average rate below which a body has timed out; one byte per time-out would otherwise hold forever."""


class Upload:
    """One request body."""

    __slots__ = ("_chunks", "_left", "_limit", "_paused_at", "_started_at", "_timeout_s", "over", "received")

    def __init__(self, length: int, limit_bytes: int, timeout_s: float, now: float) -> None:
        self._chunks = ChunkReader() if length == CHUNKED else None
        self._left = max(length, 0)
        self._limit = limit_bytes
        self._timeout_s = timeout_s
        self._started_at = now
        self._paused_at: float | None = None
        self.received = 0
        self.over = False
        """The body has come to its end."""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take a piece off the wire. Return the payload in it, and what follows the body.

        Raises:
            BodyTooLarge: more has come than the limit allows.
            MalformedHttp: the body's chunks are not valid.
        """
        if self._chunks is None:
            piece, rest = data[: self._left], data[self._left :]
            self._left -= len(piece)
            self.over = not self._left
        else:
            piece, tail = self._chunks.feed(data)
            self.over = tail is not None
            rest = tail or b""
        self.received += len(piece)
        if self.received > self._limit:
            raise BodyTooLarge
        return piece, rest

    @property
    def paused(self) -> bool:
        """It is us who keep the client waiting."""
        return self._paused_at is not None

    def pause(self, now: float) -> None:
        """Stop the client's time: it waits for us."""
        if self._paused_at is None:
            self._paused_at = now

    def resume(self, now: float) -> None:
        """Let the client's time run again, without what has passed since `pause`."""
        if self._paused_at is not None:
            self._started_at += now - self._paused_at
            self._paused_at = None

    def due_at(self, now: float) -> float:
        """Return when the client is too slow if nothing comes after `now`."""
        if self._paused_at is not None:
            return inf
        slowest = self._started_at + self._timeout_s + self.received / MIN_BYTES_PER_S
        return min(now + self._timeout_s, slowest)
