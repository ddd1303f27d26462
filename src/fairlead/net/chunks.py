"""Takes whole chunks out of a chunked body in one sweep (RFC 9112, 7.1).

A streaming engine sends each event as a chunk, and a busy connection delivers
many of them at once. Parsing them one by one costs a callback each; here a
packet of well-formed chunks is split, checked and joined by a handful of
calls. Anything unusual (an extension, a chunk that is not complete, a line end
inside the data, the last chunk) is left to the real parser, which therefore
decides every question of validity: nothing is accepted here that it refuses.
"""

from __future__ import annotations

from typing import Final

_HEX: Final = b"0123456789abcdefABCDEF"
_MOST_DIGITS: Final = 7
_MOST_SIZES: Final = 4096


class ChunkSizes:
    """The sizes that chunk headers stood for so far: upstreams repeat themselves. One per client."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}

    def joined(self, data: bytes) -> bytes | None:
        """The content of `data` when it is one whole chunk, or several that hold no line end; else None.

        `data` begins where a chunk may begin. The last chunk, of size zero, is
        none of these.
        """
        end = data.find(b"\r\n", 0, _MOST_DIGITS + 2)
        if self._known.get(data[:end]) == len(data) - end - 4 and data.endswith(b"\r\n"):
            return data[end + 2 : -2]
        lines = data.split(b"\r\n")
        # Header and content take turns; behind the last line end is nothing.
        if lines.pop() or len(lines) & 1:
            return None
        contents = lines[1::2]
        headers = lines[::2]
        known = self._known
        if list(map(known.get, headers)) != list(map(len, contents)):
            for header in headers:
                if header not in known and not self._learn(header):
                    return None
            if list(map(known.get, headers)) != list(map(len, contents)):
                return None
        return b"".join(contents)

    def _learn(self, header: bytes) -> bool:
        if not 0 < len(header) <= _MOST_DIGITS or header.translate(None, _HEX):
            return False
        size = int(header, 16)
        if not size:
            return False
        if len(self._known) >= _MOST_SIZES:
            self._known.clear()
        self._known[header] = size
        return True
