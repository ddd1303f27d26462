"""Bounded reading of untrusted bytes: windows that cannot be left, and a cursor over them.

Nothing here trusts a length: whatever would read outside its window is a
`Stopped` finding, and no caller gets fewer bytes than it asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from fairlead.vault.ingest.verdict import Stopped

STEP_BYTES = 1 << 20
"""Whole files are read in pieces of this size."""
_BUFFER_BYTES = 1 << 16


class Window:
    """A range of a file or of memory. Reads nothing outside of it."""

    def __init__(self, read_at: Callable[[int, int], bytes], start: int, size: int) -> None:
        self._read_at = read_at
        self.start = start
        self.size = size

    def read(self, at: int, size: int) -> bytes:
        """Exactly `size` bytes from `at` on.

        Raises:
            Stopped: they are not all inside.
        """
        if at < 0 or size < 0 or at + size > self.size:
            raise Stopped(
                "truncated", f"byte {at}", f"{size} bytes are announced where {self.size} end the data"
            )
        data = self._read_at(self.start + at, size)
        if len(data) != size:
            raise Stopped("truncated", f"byte {at}", "the file became shorter while it was read")
        return data

    def head(self, size: int) -> bytes:
        """The first bytes, fewer where there are fewer."""
        return self.read(0, min(size, self.size))

    def part(self, at: int, size: int) -> Window:
        """A smaller window.

        Raises:
            Stopped: it is not inside this one.
        """
        if at < 0 or size < 0 or at + size > self.size:
            raise Stopped(
                "truncated", f"byte {at}", f"{size} bytes are announced where {self.size} end the data"
            )
        return Window(self._read_at, self.start + at, size)

    def pieces(self, step: int = STEP_BYTES) -> Iterator[bytes]:
        """All of it, in pieces."""
        for at in range(0, self.size, step):
            yield self.read(at, min(step, self.size - at))


def file_window(descriptor: int) -> Window:
    """All of an open file."""

    def read_at(at: int, size: int) -> bytes:
        parts = []
        while size:
            data = os.pread(descriptor, size, at)
            if not data:
                break
            parts.append(data)
            at += len(data)
            size -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    return Window(read_at, 0, os.fstat(descriptor).st_size)


def memory_window(data: bytes) -> Window:
    """Bytes that are in memory already."""
    return Window(lambda at, size: data[at : at + size], 0, len(data))


class Cursor:
    """A position in a window, with a buffer: formats of small fields are read byte by byte."""

    def __init__(self, window: Window, at: int = 0) -> None:
        self.window = window
        self._buffer = b""
        self._buffer_at = at
        self._used = 0

    @property
    def at(self) -> int:
        """The offset of the next byte."""
        return self._buffer_at + self._used

    @property
    def left(self) -> int:
        """How many bytes follow."""
        return self.window.size - self.at

    def take(self, size: int) -> bytes:
        """The next bytes, all of them.

        Raises:
            Stopped: there are fewer.
        """
        end = self._used + size
        if end <= len(self._buffer):
            data = self._buffer[self._used : end]
            self._used = end
            return data
        at = self.at
        if size > _BUFFER_BYTES:
            data = self.window.read(at, size)
            self._buffer, self._buffer_at, self._used = b"", at + size, 0
            return data
        self._buffer = self.window.read(at, max(size, min(_BUFFER_BYTES, self.left)))
        self._buffer_at, self._used = at, size
        return self._buffer[:size]

    def skip(self, size: int) -> int:
        """Pass over bytes without reading them. Return where they begin.

        Raises:
            Stopped: there are fewer.
        """
        at = self.at
        self.window.part(at, size)
        if self._used + size <= len(self._buffer):
            self._used += size
        else:
            self._buffer, self._buffer_at, self._used = b"", at + size, 0
        return at

    def line(self, limit: int) -> bytes:
        """The bytes up to the next newline, which is passed over.

        Raises:
            Stopped: no newline within `limit` bytes.
        """
        data = self.window.read(self.at, min(limit + 1, self.left))
        end = data.find(b"\n")
        if end < 0:
            raise Stopped("truncated", f"byte {self.at}", f"a line has no end within {limit} bytes")
        self.skip(end + 1)
        return data[:end]

    def number(self, size: int, *, signed: bool = False) -> int:
        """The next little-endian integer."""
        return int.from_bytes(self.take(size), "little", signed=signed)
