"""Server-sent events, incrementally: bytes in, events out.

Follows the WHATWG event stream format: lines end in LF, CRLF or CR, a BOM may
come first, comments are dropped, several `data` lines make one text. However
a stream is split, the events are the same. Data stays bytes: most of it goes
into a JSON decoder. An event larger than the bound is an error, so that an
upstream that never ends one costs no more memory than that.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fairlead.errors import UpstreamProtocolError

MAX_EVENT_BYTES: Final = 16_777_216

_BOM: Final = b"\xef\xbb\xbf"
_LF: Final = 10
_CR: Final = 13
_COLON: Final = 58


class SseEvent(msgspec.Struct, frozen=True, gc=False):
    """One dispatched event."""

    event: str
    """The `event` field; empty when there was none, which means `message`."""
    data: bytes
    """The `data` lines, joined by LF."""
    id: str = ""
    """The last `id` of the stream so far, of this event or an earlier one."""
    retry: int | None = None
    """The `retry` field of this event, in milliseconds."""


class SseParser:
    """Parses one stream."""

    __slots__ = ("_after_cr", "_at_start", "_failed", "_last_id", "_lines", "_max_bytes", "_partial", "_size")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_event_bytes
        # Whole lines of the event under way, without comments; then pieces of a line that has not
        # ended; and how long they are together, one byte counted for each line end.
        self._lines: list[bytes] = []
        self._partial: list[bytes] = []
        self._size = 0
        self._last_id = ""
        self._after_cr = False
        self._at_start = True
        self._failed = False

    def feed(self, data: bytes) -> list[SseEvent]:
        """Take bytes as they come; return the events they complete.

        Raises:
            UpstreamProtocolError: an event is too large. Events that end before
                it are returned first; the next call raises.
        """
        events: list[SseEvent] = []
        if self._after_cr and data:
            self._after_cr = False
            if data[0] == _LF:
                data = data[1:]
        if data and not self._failed:
            # For bytes, splitlines knows exactly the three line ends of the format.
            lines = data.splitlines()
            last = data[-1]
            tail = b"" if last in (_LF, _CR) else lines.pop()
            self._after_cr = last == _CR
            for line in lines:
                self._line(line, events)
            if tail and not self._failed:
                self._partial.append(tail)
                self._grow(len(tail))
        if self._failed and not events:
            raise UpstreamProtocolError(f"an event of the stream is larger than {self._max_bytes} bytes")
        return events

    def rest(self) -> bytes:
        """What has come of an event that was not dispatched; empty at a proper end.

        Its line ends are LF. The event of an upstream that forgets the last
        empty line is had by `feed(b"\\n\\n")`.
        """
        return b"".join([line + b"\n" for line in self._lines] + self._partial)

    def _line(self, line: bytes, events: list[SseEvent]) -> None:
        """A line has ended."""
        if self._failed:
            return
        if self._partial:
            self._size -= sum(map(len, self._partial))
            line = b"".join((*self._partial, line))
            self._partial.clear()
        size = len(line)
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        if not line:
            event = self._dispatch()
            if event is not None:
                events.append(event)
        elif line[0] == _COLON:
            # Counted as it would be while it was still coming, then forgotten.
            self._grow(size)
            self._size -= size
        else:
            self._lines.append(line)
            self._grow(size + 1)

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > self._max_bytes:
            self._failed = True
            self._lines.clear()
            self._partial.clear()

    def _dispatch(self) -> SseEvent | None:
        """End the event under way. One without data is none, but its `id` counts."""
        lines = self._lines
        self._size = 0
        if len(lines) == 1 and lines[0].startswith(b"data:"):  # most events of most upstreams
            line = lines.pop()
            return SseEvent("", line[6:] if line.startswith(b"data: ") else line[5:], self._last_id)
        data: list[bytes] = []
        name = ""
        retry: int | None = None
        for line in lines:
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value.decode("utf-8", "replace")
            elif field == b"id":
                if b"\0" not in value:
                    self._last_id = value.decode("utf-8", "replace")
            elif field == b"retry" and value.isdigit() and len(value) < 10:
                retry = int(value)
        lines.clear()
        return SseEvent(name, b"\n".join(data), self._last_id, retry) if data else None
