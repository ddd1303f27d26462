"""How bodies and answers are laid out on the wire: chunks, status lines, header lines.

Pure. The chunk reader accepts less than RFC 9112 allows, because every liberty
here (blanks, bare LF, endless extensions) has been a way to smuggle a request
or to burn time: a size is 1 to 16 hexadecimal digits, lines end in CRLF, and
what extensions and trailers may add up to is bounded. Both are ignored.
"""

from __future__ import annotations

import enum
import http
import re
from typing import Final

from fairlead.errors import MalformedHttp

LAST_CHUNK: Final = b"0\r\n\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus
}
_NAME: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]*"
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(;" + _VALUE + rb")?")
_TRAILER_LINE: Final = re.compile(_NAME + rb":" + _VALUE)
_HEADER_NAME: Final = re.compile(_NAME)
_EXTENSIONS_BYTES: Final = 16_384
_TRAILERS_BYTES: Final = 8_192


def status_line(status: int) -> bytes:
    """Return the status line of an answer; a status that nobody registered has no phrase."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def header(name: str, value: str | bytes) -> bytes:
    """Return one header line with its line end.

    Raises:
        ValueError: the name is not a token, or the value would end the line (CR, LF, NUL).
    """
    raw_name = name.encode("ascii", "replace")
    raw_value = value if isinstance(value, bytes) else value.encode("latin-1", "replace")
    if not _HEADER_NAME.fullmatch(raw_name):
        raise ValueError("not a header field name")
    if b"\r" in raw_value or b"\n" in raw_value or b"\0" in raw_value:
        raise ValueError(f"the value of {name} has a line end or a NUL in it")
    return b"%b: %b\r\n" % (raw_name, raw_value)


def chunk(data: bytes) -> bytes:
    """Frame one piece of a chunked body. An empty piece is nothing at all: a chunk of size 0 ends a body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def has_body(status: int) -> bool:
    """Say whether an answer of this status may carry a body."""
    return status >= 200 and status not in (204, 304)


class _Part(enum.Enum):
    """What a chunked body is made of; the value is how long a line of it may be."""

    SIZE = 256
    DATA = -1
    DATA_END = 0
    TRAILER = 8_192


class ChunkReader:
    """Takes a chunked body apart. Any way of splitting the same bytes gives the same payload."""

    __slots__ = ("_extensions_bytes", "_left", "_line", "_part", "_trailers_bytes")

    def __init__(self) -> None:
        self._part = _Part.SIZE
        self._line = b""
        self._left = 0
        self._extensions_bytes = 0
        self._trailers_bytes = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Return the payload in `data`, and what follows the body: None while it has not ended.

        Raises:
            MalformedHttp: this is not a chunked body; nothing after it can be understood.
        """
        pieces: list[bytes] = []
        at = 0
        while at < len(data):
            if self._part is _Part.DATA:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._part = _Part.DATA_END
                continue
            end = data.find(b"\n", at)
            line = self._line + data[at : end if end >= 0 else len(data)]
            if len(line) > self._part.value + 1:  # one for the CR
                raise MalformedHttp("A line of the chunked body is too long.")
            if end < 0:
                self._line = line
                break
            self._line = b""
            at = end + 1
            if line[-1:] != b"\r":
                raise MalformedHttp("A line of the chunked body does not end in CRLF.")
            if self._line_ends_body(line[:-1]):
                return b"".join(pieces), data[at:]
        return b"".join(pieces), None

    def _line_ends_body(self, line: bytes) -> bool:
        if self._part is _Part.SIZE:
            self._start_chunk(line)
        elif self._part is _Part.DATA_END:
            if line:
                raise MalformedHttp("A chunk is longer than its size says.")
            self._part = _Part.SIZE
        else:
            if not line:
                return True
            self._trailers_bytes += len(line)
            if self._trailers_bytes > _TRAILERS_BYTES or not _TRAILER_LINE.fullmatch(line):
                raise MalformedHttp("The trailers of the chunked body are not valid.")
        return False

    def _start_chunk(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise MalformedHttp("A chunk size is not valid.")
        if match[2]:
            self._extensions_bytes += len(match[2])
            if self._extensions_bytes > _EXTENSIONS_BYTES:
                raise MalformedHttp("The extensions of the chunked body are too long.")
        self._left = int(match[1], 16)
        self._part = _Part.DATA if self._left else _Part.TRAILER
